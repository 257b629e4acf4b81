"""The path or URL of a queue: what it names, and how messages show it."""

from msgspec import Struct

from queuectl.store import MEMORY, file_of, is_postgres, name_of
from queuectl.store.postgres.url import has_password

__all__ = ["QueueUrl"]


class QueueUrl(Struct, frozen=True):
    """A path, `sqlite:///PATH`, `:memory:` or a postgresql:// URL, as it was given."""

    text: str

    @property
    def name(self) -> str:
        """How messages call the queue: its absolute path, or its URL without the password."""
        return name_of(self.text)

    @property
    def file(self) -> str:
        """The absolute path of the database. Raises StoreError for a queue on a server."""
        return file_of(self.text)

    @property
    def is_on_server(self) -> bool:
        """Whether the queue is on a PostgreSQL server."""
        return is_postgres(self.text)

    @property
    def is_in_memory(self) -> bool:
        """Whether the queue ends with this process."""
        return self.name == MEMORY

    @property
    def has_password(self) -> bool:
        """Whether the URL tells a password."""
        return has_password(self.text)
