/** The first day of a user with ordinary EC2 instances, on a terminal of 80 columns. */
import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { canMakeUsers } from '../openssh/vm-users.ts';
import { columns, type FirstDay, runFirstDay } from './first-day.ts';

describe('the first day', { timeout: 600_000, skip: !canMakeUsers && 'needs users and port 22' }, () => {
  let day: FirstDay;
  before(async () => {
    day = await runFirstDay();
  });

  test('one command of setup, and three VMs are logged in to', (context) => {
    assert.deepEqual(day.setup.logins, ['ubuntu', 'ec2-user', 'admin']);
    assert.equal(day.setup.commands.length, 1 + 3);
    context.diagnostic(`${day.setup.seconds.toFixed(1)} s`);
  });

  test('two commands by hand do the same', (context) => {
    assert.deepEqual(day.byHand.logins, ['ubuntu', 'ec2-user', 'admin']);
    assert.equal(day.byHand.commands.length, 2 + 3);
    context.diagnostic(`${day.byHand.seconds.toFixed(1)} s`);
  });

  test('no row is longer than 80 columns, but for lines of a file that the diff shows', () => {
    for (const [name, capture] of Object.entries(day.captures)) {
      const long = capture
        .split('\n')
        .filter((line) => [...line].length > columns && !(name === 'by hand' && line.startsWith('+')));
      assert.deepEqual(long, [], name);
    }
  });

  test('the screens show what a newcomer looks for', () => {
    const shows: Readonly<Record<string, readonly RegExp[]>> = {
      vms: [/^build .*running/m, /^data .*running/m, /^dev .*running/m],
      picker: [/^> dev .*running/m, /Enter connects/],
      doctor: [/^FAIL {2}address /m, /login +not checked/],
      warning: [/HAS CHANGED/, /yes\/no/],
    };
    for (const [name, forms] of Object.entries(shows))
      for (const form of forms) assert.match(day.captures[name] ?? '', form, name);
  });
});
