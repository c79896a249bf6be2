/** Asks for a passphrase and prints `[secret: …]` as base64, or `[no: …]`; ends by itself. */
import { askSecret } from '../../../src/cli/secret.ts';

const answer = await askSecret('Passphrase of "x": ');
const told =
  typeof answer === 'string' ? `no: ${answer}` : `secret: ${Buffer.from(answer.text).toString('base64')}`;
process.stdout.write(`[${told}]\n`);
