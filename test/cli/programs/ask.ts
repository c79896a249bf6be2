/**
 * Asks as the proxy does and prints `[answer: …]` on stdout. It does not call exit, so the question must not keep the
 * process alive. Argument: the parts of a Question that differ, as JSON, `withdrawAfter` milliseconds, and
 * `answerTo`, a file for the answer of a program that outlives its terminal.
 */
import { writeFileSync } from 'node:fs';
import { ask } from '../../../src/cli/question.ts';

const { withdrawAfter, answerTo, ...given } = JSON.parse(process.argv[2] ?? '{}');
const signal = withdrawAfter === undefined ? undefined : AbortSignal.timeout(withdrawAfter);
if (answerTo !== undefined) process.on('SIGHUP', () => {});
const answer = await ask({
  framed: '==========\n  KEY CHANGED\n==========\n  now seen: SHA256:abcDEF',
  prompt: 'Are you sure you want to continue connecting (yes/no/[fingerprint])? ',
  accepts: ['yes', 'SHA256:abcDEF'],
  seconds: 10,
  signal,
  ...given,
});
if (answerTo !== undefined) writeFileSync(answerTo, answer);
else process.stdout.write(`[answer: ${answer}]\n`);
