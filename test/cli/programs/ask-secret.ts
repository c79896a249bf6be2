/** Asks for a passphrase, for as many seconds as its argument says, and prints `[secret: …]` as base64, or `[no: …]`. */
import { askSecret } from '../../../src/cli/secret.ts';

const [seconds] = process.argv.slice(2);
const limits = seconds === undefined ? {} : { seconds: Number(seconds) };
const answer = await askSecret('Passphrase of "x": ', process.env, limits);
const told =
  typeof answer === 'string' ? `no: ${answer}` : `secret: ${Buffer.from(answer.text).toString('base64')}`;
process.stdout.write(`[${told}]\n`);
