import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { loadCommands } from '../../src/cli/grammar.ts';
import { optionTexts } from '../../src/cli/help.ts';
import { manualPage } from '../../src/cli/man.ts';
import { commands } from '../../src/commands/table.ts';

const texts = await loadCommands(commands);
const page = manualPage(texts);

function rendered(source: string): string {
  const args = ['-man', '-Tutf8', '-ww', '-rLL=500n', '-P-cbou'];
  const { stdout, stderr } = spawnSync('groff', args, { input: source, encoding: 'utf8' });
  assert.equal(stderr, '');
  return stdout;
}

test('groff formats the page without a warning, and shows every command and option', () => {
  const shown = rendered(page).replaceAll(/[ \n]+/g, ' ');
  for (const { command } of texts) {
    const forms = [
      `mint-ssh ${command.usage}`,
      ...(command.words ?? []).flatMap((word) => word.slice(0, 2) as string[]),
      ...optionTexts(command.options).flatMap(({ form, description }) => [form, description]),
    ];
    for (const form of forms) {
      const words = form.replaceAll('`', '').replaceAll(/ +/g, ' ');
      assert.ok(shown.includes(words), words);
    }
  }
});

test('escapes text that groff would read as a request or an escape', () => {
  const hostile = '.so /etc/passwd\n\'br\n\\fBbold\\n(.c `a\\b` "x" ~/.ssh ^ …';
  const command = {
    usage: 'x \\*(xx',
    help: hostile,
    words: [[".de 'y'", '.ig', ['o']]] as const,
    options: { o: { type: 'boolean', description: "'ig \\" } as const },
    run: () => Promise.resolve(0),
  };
  const shown = rendered(manualPage([{ word: 'x', summary: 'x', command }])).replaceAll(/[ \n]+/g, ' ');
  assert.ok(shown.includes(hostile.replaceAll('`', '').replaceAll('\n', ' ')), shown);
  for (const text of ['mint-ssh x \\*(xx', ".de 'y'", '.ig', "'ig \\"]) assert.ok(shown.includes(text), text);
});

test('the page holds requests of man(7) and text, and no character beyond ASCII', () => {
  assert.match(page, /^[\n -~]+$/);
  const requests = new Set(page.match(/^\.\S+/gm));
  const known = ['.TH', '.SH', '.SS', '.B', '.BR', '.br', '.PP', '.TP', '.RS', '.RE', '.nf', '.fi'];
  assert.deepEqual(
    [...requests].filter((request) => !known.includes(request)),
    [],
  );
});
