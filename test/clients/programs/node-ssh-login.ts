/** node-ssh-login.ts USER SOCKET COMMAND PROXY…: logs in with node-ssh, as a deployment script does. */
import { spawn } from 'node:child_process';
import { Duplex } from 'node:stream';
import { NodeSSH } from 'node-ssh';

const [username = '', agent = '', command = '', program = '', ...words] = process.argv.slice(2);
const proxy = spawn(program, words, { stdio: ['pipe', 'pipe', 'inherit'] });
const sock = Duplex.from({ writable: proxy.stdin, readable: proxy.stdout });
const ssh = new NodeSSH();
await ssh.connect({ sock, username, agent });
const { stdout } = await ssh.execCommand(command);
process.stdout.write(`${stdout}\n`);
ssh.dispose();
