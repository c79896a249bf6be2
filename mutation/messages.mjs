/**
 * An ignorer for Stryker: leaves out the words of errors, hints and reasons. No test may depend on them, so every mutant
 * there would survive. The code of an error is mutated.
 */

/** Functions that make an error, each with the place of its first argument that is words. */
const functions = new Map([
  ['unpredicted', 0],
  ['neverSsh', 0],
  ['badSetting', 2],
  ['surprise', 2],
]);
/** `wants` is the part of a message after "must be". */
const properties = new Set(['hint', 'why', 'wants']);
/** Variables that are words, and functions that return them. */
const variables = new Set(['reason']);
const describers = new Set(['faultOf']);

/** The name of a function, or of a private method of `this`. */
function nameOf(callee) {
  return callee.name ?? callee.property?.id?.name;
}

function isMessage(path) {
  const { node, parent, key, listKey } = path;
  if (parent?.type === 'ReturnStatement')
    return node.type === 'StringLiteral' && describers.has(path.getFunctionParent()?.node.id?.name);
  if (parent?.type === 'VariableDeclarator')
    return node.type === 'TemplateLiteral' && variables.has(parent.id.name);
  const isArgument = listKey === 'arguments';
  if (parent?.type === 'NewExpression') return isArgument && key === 1 && parent.callee.name === 'MintError';
  if (parent?.type === 'CallExpression') return isArgument && key >= functions.get(nameOf(parent.callee));
  return parent?.type === 'ObjectProperty' && key === 'value' && properties.has(parent.key.name);
}

export const strykerPlugins = [
  {
    kind: 'Ignore',
    name: 'messages',
    value: { shouldIgnore: (path) => (isMessage(path) ? 'the words of a message' : undefined) },
  },
];
