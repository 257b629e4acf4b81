"""Crontabs as people have them, read as schedules: what is carried over, what is refused, and what is said."""

import pytest

from queuectl.application.crontab import read_crontab

LAPTOP = """\
# m h  dom mon dow   command
0 9-17 * * 1-5 /usr/bin/notify-send "stretch"
@daily $HOME/bin/backup.sh
"""
WEB_SERVER = """\
SHELL=/bin/bash
PATH=/usr/local/bin:/usr/bin:/bin
MAILTO=ops@example.org

*/5 * * * *   /srv/app/bin/heartbeat --quiet
17 3 * * *    cd /srv/app && ./manage.py clearsessions
30 4 1 * *    /srv/app/bin/invoice.sh >> /var/log/invoice.log 2>&1
"""
SYSTEM = """\
# /etc/crontab: system-wide crontab
SHELL=/bin/sh
PATH=/usr/local/sbin:/usr/local/bin:/sbin:/bin:/usr/sbin:/usr/bin
17 *\t* * *\troot    cd / && run-parts --report /etc/cron.hourly
25 6\t* * *\troot\ttest -x /usr/sbin/anacron || ( cd / && run-parts --report /etc/cron.daily )
"""
DATABASE = """\
CRON_TZ=Europe/Berlin
PGPASSFILE="/etc/pgpass"
0 2 * * * pg_dump app | gzip > /backup/app-$(date +\\%F).sql.gz
15 2 * * 0 vacuumdb --all --analyze
CRON_TZ=America/New_York
0 18 * * MON-FRI report close-of-business
"""
MAIL_OF_INPUT = """\
0 8 * * 1 mail -s "weekly" team@example.org%Good morning,%the report is ready.%
0 9 * * 1 echo fine
"""
RASPBERRY = """\
@reboot /home/pi/start-camera.sh
*/10 * * * * python3 /home/pi/sensors/read.py
0 0 * * * find /home/pi/pictures -mtime +30 -delete
"""
CI_RUNNER = """\
HOME=/var/lib/ci
0 */2 * * * docker system prune -f
*/15 * * * 1-5 ./poll.sh
@hourly ./poll.sh --slow
"""
HOSTING = """\
MAILTO=""
1,16,31,46 * * * * wget -q -O /dev/null 'https://example.org/cron.php?key=s3cr\\%t'
0 5 * * sun /usr/bin/php /home/u1/www/cleanup.php
"""
BACKUPS = """\
# nightly, with a lock
0 1 * * * flock -n /tmp/b.lock nice -n 19 restic backup /srv
0 7 * * SAT restic forget --keep-daily 7
45 23 28-31 * * [ "$(date -d tomorrow +\\%d)" = 01 ] && /usr/local/bin/close-month
"""
BROKEN = """\
* * * * /usr/bin/four-fields
61 * * * * /usr/bin/no-such-minute
@fortnightly /usr/bin/no-such-word
this is not a crontab
0 0 * * * fine
"""

CRONTABS = {
    "a laptop": (
        LAPTOP,
        [
            ("notify-send", "0 9-17 * * 1-5", '/usr/bin/notify-send "stretch"'),
            ("backup", "0 0 * * *", "$HOME/bin/backup.sh"),
        ],
    ),
    "a web server": (
        WEB_SERVER,
        [
            ("heartbeat", "*/5 * * * *", "/srv/app/bin/heartbeat --quiet"),
            ("manage", "17 3 * * *", "cd /srv/app && ./manage.py clearsessions"),
            ("invoice", "30 4 1 * *", "/srv/app/bin/invoice.sh >> /var/log/invoice.log 2>&1"),
        ],
    ),
    "the system's": (
        SYSTEM,
        [
            ("run-parts", "17 * * * *", "cd / && run-parts --report /etc/cron.hourly"),
            (
                "anacron",
                "25 6 * * *",
                "test -x /usr/sbin/anacron || ( cd / && run-parts --report /etc/cron.daily )",
            ),
        ],
    ),
    "a database": (
        DATABASE,
        [
            ("pg_dump", "0 2 * * *", "pg_dump app | gzip > /backup/app-$(date +%F).sql.gz"),
            ("vacuumdb", "15 2 * * 0", "vacuumdb --all --analyze"),
            ("report", "0 18 * * MON-FRI", "report close-of-business"),
        ],
    ),
    "input after %": (MAIL_OF_INPUT, [("echo", "0 9 * * 1", "echo fine")]),
    "a Raspberry Pi": (
        RASPBERRY,
        [
            ("python3", "*/10 * * * *", "python3 /home/pi/sensors/read.py"),
            ("find", "0 0 * * *", "find /home/pi/pictures -mtime +30 -delete"),
        ],
    ),
    "a CI runner": (
        CI_RUNNER,
        [
            ("docker", "0 */2 * * *", "docker system prune -f"),
            ("poll", "*/15 * * * 1-5", "./poll.sh"),
            ("poll-2", "0 * * * *", "./poll.sh --slow"),
        ],
    ),
    "web hosting": (
        HOSTING,
        [
            ("wget", "1,16,31,46 * * * *", "wget -q -O /dev/null 'https://example.org/cron.php?key=s3cr%t'"),
            ("php", "0 5 * * sun", "/usr/bin/php /home/u1/www/cleanup.php"),
        ],
    ),
    "backups": (
        BACKUPS,
        [
            ("restic", "0 1 * * *", "flock -n /tmp/b.lock nice -n 19 restic backup /srv"),
            ("restic-2", "0 7 * * SAT", "restic forget --keep-daily 7"),
            ("date", "45 23 28-31 * *", '[ "$(date -d tomorrow +%d)" = 01 ] && /usr/local/bin/close-month'),
        ],
    ),
    "errors": (BROKEN, [("fine", "0 0 * * *", "fine")]),
}


def read(text):
    return read_crontab(text, with_users=text is SYSTEM)


@pytest.mark.parametrize(("text", "expected"), CRONTABS.values(), ids=CRONTABS)
def test_entries_become_schedules(text, expected):
    assert [(each.name, each.when.cron, each.command) for each in read(text).entries] == expected


def test_variables_hold_for_the_entries_below_them():
    entries = read(WEB_SERVER).entries
    assert {each.shell for each in entries} == {"/bin/bash"}
    assert entries[0].env == {"PATH": "/usr/local/bin:/usr/bin:/bin"}
    dump, _, report = read(DATABASE).entries
    assert (dump.when.tz, report.when.tz) == ("Europe/Berlin", "America/New_York")
    assert dump.env == {"PGPASSFILE": "/etc/pgpass"}
    assert {each.cwd for each in read(CI_RUNNER).entries} == {"/var/lib/ci"}
    assert read(SYSTEM).entries[0].shell is None


def test_variables_that_are_lost_are_named():
    assert read(WEB_SERVER).notes == (
        "line 3: MAILTO=ops@example.org: no mail is sent; `queuectl logs` has the output",
    )
    assert read(HOSTING).notes == ()
    assert read(SYSTEM).notes[0] == "line 4: it ran as root; now it runs as the user of the worker"


def test_lines_that_cannot_be_carried_over_are_refused():
    assert read(RASPBERRY).refused == ("line 1: @reboot has no counterpart: start it with the system, as a service",)
    assert read(MAIL_OF_INPUT).refused[0].startswith("line 1: the text after % is the command's input in cron")
    refused = read(BROKEN).refused
    assert [each.split(":")[0] for each in refused] == ["line 1", "line 2", "line 3", "line 4"]
    assert "bad minute" in refused[1]
    assert "@fortnightly" in refused[2]


def test_a_first_word_that_may_be_a_user_is_named():
    assert read_crontab("@daily root /usr/bin/backup\n", with_users=False).notes == (
        "line 1: if root is the user and not the program, add --system",
    )


def test_names_that_are_taken_get_a_number():
    found = read_crontab("@daily backup\n@daily backup\n", with_users=False, taken={"backup"})
    assert [each.name for each in found.entries] == ["backup-2", "backup-3"]


@pytest.mark.parametrize("text", ["", "# nothing\n", "\n\n", "NAME=value\n"])
def test_a_crontab_may_have_no_entries(text):
    assert read_crontab(text, with_users=False).entries == ()


@pytest.mark.parametrize(
    "command", ["rm -- report\u00a0", "rm a\\ ", "printf 'a\x0cb\u2028c\x85d'", "\u00a0x", "echo \u3000 b\u3000"]
)
@pytest.mark.parametrize("user", ["", "root "])
@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_command_is_kept_as_written(command, user, end):
    (entry,) = read_crontab(f"0 5 * * *  {user}{command}{end}", with_users=bool(user)).entries
    assert entry.command == command


def test_an_entry_without_a_command_is_refused():
    assert read_crontab("0 0 * * * root\n", with_users=True).refused == ("line 1: there is no command after the user",)
    assert len(read_crontab("0 0 * * *\n", with_users=False).refused) == 1
