/**
 * An ignorer for Stryker: leaves out the words of errors, hints and reasons. No test may depend on them, so every mutant
 * there would survive. The code of an error is mutated.
 */
const functions = new Set(['unpredicted']);
const properties = new Set(['hint', 'why']);

function isMessage({ parent, key, listKey }) {
  const isArgument = listKey === 'arguments';
  if (parent?.type === 'NewExpression') return isArgument && key === 1 && parent.callee.name === 'MintError';
  if (parent?.type === 'CallExpression') return isArgument && functions.has(parent.callee.name);
  return parent?.type === 'ObjectProperty' && key === 'value' && properties.has(parent.key.name);
}

export const strykerPlugins = [
  {
    kind: 'Ignore',
    name: 'messages',
    value: { shouldIgnore: (path) => (isMessage(path) ? 'the words of a message' : undefined) },
  },
];
