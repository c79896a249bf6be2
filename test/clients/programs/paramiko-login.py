"""paramiko-login.py CONFIG VM COMMAND: logs in as a program would that goes by the user's ssh config."""
import os
import sys
import paramiko

path, vm, command = sys.argv[1:]
config = paramiko.SSHConfig.from_path(path).lookup(vm)
client = paramiko.SSHClient()
known_hosts = config["userknownhostsfile"].strip('"')
if os.path.exists(known_hosts) and os.path.getsize(known_hosts) > 0:
    client.load_host_keys(known_hosts)
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
else:
    # paramiko reads the file before it connects, and the first connection is what fills it.
    client.set_missing_host_key_policy(paramiko.WarningPolicy())
port = int(config["port"])
# It looks for [vm]:port, and the file has what ssh looks for under HostKeyAlias: vm.
client.connect(
    config["hostname"],
    port=22,
    username=config["user"],
    sock=paramiko.ProxyCommand(config["proxycommand"]),
    allow_agent=True,
    look_for_keys=False,
)
_, stdout, _ = client.exec_command(command)
sys.stdout.write(stdout.read().decode())
client.close()
