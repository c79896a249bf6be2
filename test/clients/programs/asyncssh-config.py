"""asyncssh-config.py CONFIG VM COMMAND: asyncssh reads the whole block, IdentityAgent and UserKnownHostsFile too."""
import asyncio
import sys
import asyncssh

path, vm, command = sys.argv[1:]


async def main():
    async with asyncssh.connect(vm, config=[path]) as connection:
        result = await connection.run(command, check=True)
        sys.stdout.write(result.stdout)


asyncio.run(main())
