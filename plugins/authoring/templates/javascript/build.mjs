// What the Makefile calls: `types` writes the types of the contract for the editor, `component` makes {{name}}.wasm.
// By the libraries, because the command `jco` does not find files under Node.js 20.

import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

const WORLD = 'described-returner';

if (process.argv[2] === 'types') {
  const { $init, generateTypes } = await import('@bytecodealliance/jco-transpile/component');
  await $init;
  const texts = readdirSync('wit').map((name) => readFileSync(join('wit', name), 'utf8'));
  // In one text, the package's name stands first.
  texts.sort((one, other) => Number(/^package /m.test(other)) - Number(/^package /m.test(one)));
  const wit = { tag: 'source', val: texts.join('\n') };
  const options = { wit, world: WORLD, guest: true, strict: true, features: { tag: 'list', val: [] } };
  for (const [name, bytes] of generateTypes(WORLD, options)) {
    const path = join('build', 'types', name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, bytes);
  }
} else {
  const { componentize } = await import('@bytecodealliance/componentize-js');
  const { component } = await componentize({
    sourcePath: 'returner.js',
    witPath: 'wit',
    worldName: WORLD,
    // Without `http`, the component imports nothing of WASI's HTTP; the contract's own is there all the same.
    disableFeatures: ['http', 'fetch-event', 'random'],
  });
  writeFileSync('{{name}}.wasm', component);
}
