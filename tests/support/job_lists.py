"""Job lists in formats that people use, each with its commands or with why it is refused; and broken jobs in JSON."""

import json
from typing import NamedTuple

__all__ = ["BROKEN", "COMMANDS", "LISTS", "Refused"]


class Refused(NamedTuple):
    """The line that is wrong, and words of the hint."""

    line: int
    words: tuple[str, ...]


Commands = list[str]

LISTS: dict[str, tuple[str | bytes, Commands | Refused]] = {
    "a plain list": ("echo 1\necho 2\n", ["echo 1", "echo 2"]),
    "comments and blank lines": (
        "#!/usr/bin/env bash\n# nightly\n\necho 1  # first\n   # indented\n \t\necho '#2'\n",
        ["echo 1  # first", "echo '#2'"],
    ),
    "continued lines": (
        "# train both\npython train.py --lr 0.1 \\\n  --seed 1\npython train.py --lr 0.2 \\\n  --seed 2\n",
        Refused(2, ("backslash", "one line")),
    ),
    "a continued line with Windows ends": (b"copy a \\\r\n b\r\n", Refused(1, ("backslash",))),
    "a backslash that is escaped": ("printf %s \\\\\necho 2\n", ["printf %s \\\\", "echo 2"]),
    "a here-document": ("echo 0\ncat <<EOF > out\nhello\nEOF\n", Refused(2, ("here-document", "script"))),
    "a here-document of JSON": ('cat > job.json <<EOF\n{"name": "x"}\nEOF\n', Refused(1, ("here-document", "script"))),
    "a loop on several lines": ("for i in 1 2 3\ndo\n  echo $i\ndone\n", Refused(1, ("sh", "one line"))),
    "a loop on one line": ('for i in 1 2; do echo "$i"; done\n', ['for i in 1 2; do echo "$i"; done']),
    "a quote on two lines": ('echo 1\ngit commit -m "first\nsecond"\n', Refused(2, ("sh", "one line"))),
    "a brace group on several lines": ("{\n  echo 1\n}\n", Refused(1, ("{ is not a job",))),
    "a function": ("echo 0\nbuild() {\n  make\n}\nbuild a\n", Refused(2, ("sh",))),
    "an operator at the end": ("make &&\n  make install\n", Refused(1, ("sh", "one line"))),
    "Windows line ends": (b"echo 1\r\n\r\n# two\r\necho 2\r\n", ["echo 1", "echo 2"]),
    "files joined, each with a mark before it": (
        '\ufeffecho 1\n\ufeff# two\n\ufeffecho 2\n\ufeff\n\ufeff{"command": "echo 3"}\n',
        ["echo 1", "echo 2", "echo 3"],
    ),
    "a file of Windows Notepad": ("echo 1\n".encode("utf-16"), Refused(1, ("UTF-16", "UTF-8"))),
    "an array": ('[{"command": "echo 1"}, {"argv": ["echo", "2"]}]', ["echo 1", "echo 2"]),
    "an array, pretty-printed": (
        json.dumps([{"command": "echo 1"}, {"command": "for i in 1\ndo echo; done"}], indent=2),
        ["echo 1", "for i in 1\ndo echo; done"],
    ),
    "an array after comments": ('# jobs\n\n[\n  {"command": "echo 1"}\n]\n\n', ["echo 1"]),
    "an array that ends too early": ('[\n  {"command": "echo 1"},\n  {"command": \n', Refused(3, ("JSON", "array"))),
    "an array with a comma too many": ('[\n  {"command": "echo 1"},\n]\n', Refused(3, ("JSON",))),
    "an array with an unknown field": (
        '[\n  {"command": "echo 1"},\n  {\n    "comand": "x"\n  }\n]\n',
        Refused(3, ("job 2", "comand")),
    ),
    "an array of texts": ('["echo 1", "echo 2"]\n', Refused(1, ("job 1", "object"))),
    "objects, pretty-printed": (
        '{\n  "command": "echo 1"\n}\n{\n  "command": "echo 2"\n}\n',
        Refused(1, ("one line",)),
    ),
    "one object, pretty-printed": ('{\n  "command": "echo 1",\n  "tags": {}\n}\n', ["echo 1"]),
    "a brace among lines": ('echo 1\n{\n"command": "echo 2"\n}\n', Refused(2, ("{ is not a job", "one line"))),
    "CSV by mistake": ("id,command,priority\n1,echo 1,5\n", Refused(1, ("CSV",))),
    "tests and groups": (
        '[ -e x ] && echo 1\n[ "$x" = 1 ] || echo 2\n{ "$prog" 3; }\n{ echo 4; }\n',
        ["[ -e x ] && echo 1", '[ "$x" = 1 ] || echo 2', '{ "$prog" 3; }', "{ echo 4; }"],
    ),
    "quotes of every kind": (
        "awk '{print $1 << 2}' f\necho \"it's $((1 << 2)) o'clock\" `date`\necho it\\'s # don't\n",
        ["awk '{print $1 << 2}' f", "echo \"it's $((1 << 2)) o'clock\" `date`", "echo it\\'s # don't"],
    ),
    "a no-break space is no blank": ("rm -- report\u00a0\n\u00a0\n", ["rm -- report\u00a0", "\u00a0"]),
    "blanks around a command stay": ("  echo 1 \t\n", ["  echo 1 \t"]),
    "one carriage return of two": (b"printf x\r\r\n", ["printf x\r"]),
    "line ends of Unicode are text": ("echo a\u2028b\x85c\x0cd\x1de\n", ["echo a\u2028b\x85c\x0cd\x1de"]),
    "a bracket among lines": ("echo 1\n [ \n", Refused(2, ("[ is not a job", "one line"))),
    "nothing but comments": ("# nothing\n\n", []),
}

BROKEN = [
    "{id:job1,command:sleep 2}",
    "{'id': 'job1', 'command': 'sleep 2'}",
    " {id: job1}",
    '{"id": "job1", "command": "sleep 2"',
    '{ "command": "true", }',
    "{",
    "[{id:1}]",
    '["true"',
]
"""Texts that are no JSON, but meant as such."""

COMMANDS = ('{ "$prog" x; }', "{ :; }", "{\n:\n}", "[ -e x ] && :", "[ ] || :", '[ "" ]')
"""Commands of the shell that look like JSON at first."""
