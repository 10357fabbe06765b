// {{name}}: counts runs and failures by minion in Redis. `PFCOUNT {{name}}:failures:web1` tells.

/** @import { Failure, JobReturn, Refusal } from 'salt:returner/types@0.1.0' */

import { pipeline } from 'salt:returner/redis@0.1.0';

const encoder = new TextEncoder();
const PFADD = encoder.encode('PFADD');

export const about = {
  describe: () => ({ name: '{{name}}', version: '0.1.0', options: [] }),
};

export const lifecycle = {
  setup() {}, // Redis needs nothing to be created
};

export const returns = {
  // PFADD counts a key once, so that a return that is delivered twice changes nothing.
  /** @type {(batch: JobReturn[]) => Refusal[]} */
  store(batch) {
    // Each command, and the place in the batch of the return that it is for.
    const commands = batch.flatMap(({ minion, key, success }, index) =>
      (success ? ['runs'] : ['runs', 'failures']).map((counter) => ({
        index,
        words: [PFADD, encoder.encode(`{{name}}:${counter}:${minion}`), encoder.encode(key)],
      })),
    );
    if (commands.length === 0) return [];
    const replies = send(commands.map(({ words }) => words));
    // One command's error is a reply. A return is refused once, whatever became of its other command.
    /** @type {Map<number, Refusal>} */
    const refusals = new Map();
    commands.forEach(({ index }, place) => {
      const reply = replies[place];
      if (reply?.tag === 'scalar' && reply.val.tag === 'error') {
        refusals.set(index, { index, failure: failure(reply.val.val) });
      }
    });
    return [...refusals.values()];
  },
};

/** @type {typeof pipeline extends (connection: string, commands: infer C) => infer R ? (commands: C) => R : never} */
function send(commands) {
  try {
    return pipeline('db', commands);
  } catch (error) {
    throw failure(/** @type {any} */ (error).payload);
  }
}

// The host tries `retry` again later, and sets `reject` aside as what will never be stored.
/** @type {(error: { message: string, retryable: boolean }) => Failure} */
function failure({ message, retryable }) {
  return retryable ? { tag: 'retry', val: { message } } : { tag: 'reject', val: message };
}
