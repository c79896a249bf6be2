"""asyncssh-login.py VM USER KNOWN_HOSTS PROXY_COMMAND COMMAND: with options, for Debian 12's cannot read the block."""
import asyncio
import os
import sys
import asyncssh

vm, user, known_hosts, proxy_command, command = sys.argv[1:]
if not os.path.exists(known_hosts) or os.path.getsize(known_hosts) == 0:
    # asyncssh reads the file before it connects, and the first connection is what fills it.
    known_hosts = None


async def main():
    options = {"config": None, "username": user, "known_hosts": known_hosts}
    # Without a port of its own: that is in the proxy's command, and known_hosts has the name alone.
    options["proxy_command"] = proxy_command
    async with asyncssh.connect(vm, **options) as connection:
        result = await connection.run(command, check=True)
        sys.stdout.write(result.stdout)


asyncio.run(main())
