"""What strace writes is read right."""

from tests.egress.strace_log import Trace, read_trace

LOG = """\
71 execve("/box/bin/python", ["/box/bin/python", "-m", "appliance"], 0x7ffd /* 9 vars */) = 0
71 openat(AT_FDCWD</box>, "/etc/ld.so.cache", O_RDONLY|O_CLOEXEC) = 3</etc/ld.so.cache>
71 openat(AT_FDCWD</box>, "../state/registry.db", O_RDWR|O_CREAT|O_CLOEXEC, 0644) = 4</state/registry.db>
72 openat(5</var/cache>, "id", O_WRONLY|O_CREAT|O_CLOEXEC, 0666 <unfinished ...>
72 <... openat resumed>) = 6</var/cache/id>
72 openat(AT_FDCWD</box>, "/tmp", O_RDWR|O_EXCL|O_TMPFILE, 0600) = 4</tmp/#2146333>(deleted)
72 creat("/old", 0644) = 3</old>
72 open("/read", O_RDONLY) = 3</read>
72 connect(3<socket:[1]>, {sa_family=AF_INET, sin_port=htons(1), sin_addr=inet_addr("127.0.0.1")}, 16) = 0
72 connect(3<socket:[1]>, {sa_family=AF_INET6, sin6_port=htons(1), sin6_flowinfo=htonl(0), \
inet_pton(AF_INET6, "2001:db8::1", &sin6_addr), sin6_scope_id=0}, 28) = -1 ENETUNREACH (Network is unreachable)
72 connect(3<socket:[1]>, {sa_family=AF_UNIX, sun_path="/run/nscd/socket"}, 110) = -1 ENOENT (No such file)
73 execve("/usr/local/bin/uname", ["uname"], 0x55ff /* 39 vars */) = -1 ENOENT (No such file or directory)
73 execve("/usr/bin/uname", ["uname"], 0x55ff /* 39 vars */) = 0
"""


def test_programs_peers_and_written_files_are_found():
    trace = read_trace(LOG.splitlines())

    assert trace == Trace(
        programs=frozenset({"/box/bin/python", "/usr/local/bin/uname", "/usr/bin/uname"}),
        peers=frozenset({"127.0.0.1", "2001:db8::1", "/run/nscd/socket"}),
        written=frozenset({"/state/registry.db", "/var/cache/id", "/tmp", "/old"}),
    )
