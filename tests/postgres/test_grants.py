"""A rebuilt table keeps the grants of other roles."""

import pytest

from tests.support.builders import add, new

ALLOWED = "SELECT string_agg(privilege, ' ') FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE'])"
DAMAGE = ["DROP TABLE queuectl.jobs", "ALTER TABLE queuectl.jobs ADD COLUMN more text"]


def allowed(postgres, role, database):
    """The rights of a role on `jobs`."""
    sql = f"{ALLOWED} AS privilege WHERE has_table_privilege('{role}', 'queuectl.jobs', privilege)"
    return postgres.ask(sql, database)


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_rebuilt_table_keeps_its_grants(postgres, places, damage):
    database, role = postgres.new_database(), 'a "role'
    quoted = f'"{role.replace(chr(34), chr(34) * 2)}"'
    store = places.open(postgres.url(database))
    add(store, new("a"))
    postgres.ask(f"CREATE ROLE {quoted}")
    try:
        postgres.ask(
            f"GRANT SELECT, DELETE ON queuectl.jobs, queuectl.dlq TO {quoted};"
            f"GRANT SELECT ON queuectl.jobs, queuectl.dlq TO PUBLIC",
            database,
        )
        before = allowed(postgres, role, database)
        postgres.ask(damage, database)
        assert store.upkeep.rebuild().total > 0
        assert allowed(postgres, role, database) == before
        assert store.upkeep.compare().total == 0
    finally:
        places.close()
        postgres.ask(f"DROP DATABASE {database} WITH (FORCE)")
        postgres.ask(f"DROP ROLE {quoted}")
