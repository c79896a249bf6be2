"""libssh-login.py CONFIG VM COMMAND: logs in by the generated block alone, through libssh's C interface."""
import ctypes
import sys

path, vm, command = (word.encode() for word in sys.argv[1:])
libssh = ctypes.CDLL("libssh.so.4")
for name in ("ssh_new", "ssh_channel_new"):
    getattr(libssh, name).restype = ctypes.c_void_p
libssh.ssh_get_error.restype = ctypes.c_char_p
HOST = 0
SUCCESS = 0

session = ctypes.c_void_p(libssh.ssh_new())


def check(what, result):
    if result != SUCCESS:
        sys.exit(f"{what}: {result}: {libssh.ssh_get_error(session).decode()}")


check("host", libssh.ssh_options_set(session, HOST, vm))
check("config", libssh.ssh_options_parse_config(session, path))
check("connect", libssh.ssh_connect(session))
# The file that UserKnownHostsFile names has been written by then, on the first login too.
KNOWN = 1
if libssh.ssh_session_is_known_server(session) != KNOWN:
    sys.exit("the host key is not a known one")
check("log in", libssh.ssh_userauth_agent(session, None))
channel = ctypes.c_void_p(libssh.ssh_channel_new(session))
check("channel", libssh.ssh_channel_open_session(channel))
check("run", libssh.ssh_channel_request_exec(channel, command))
buffer = ctypes.create_string_buffer(4096)
while (length := libssh.ssh_channel_read(channel, buffer, 4096, 0)) > 0:
    sys.stdout.write(buffer.raw[:length].decode())
libssh.ssh_disconnect(session)
