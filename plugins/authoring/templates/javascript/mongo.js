// {{name}}: keeps a document for each return in the collection `{{snake}}`.

/** @import { Failure, JobReturn, Refusal } from 'salt:returner/types@0.1.0' */
/** @import { Update, WriteError } from 'salt:returner/mongo@0.1.0' */

import { updateMany } from 'salt:returner/mongo@0.1.0';

export const about = {
  describe: () => ({ name: '{{name}}', version: '0.1.0', options: [] }),
};

export const lifecycle = {
  setup() {}, // MongoDB creates the collection itself
};

export const returns = {
  // `key` is the same however often a return is delivered, so that the second time changes nothing.
  /** @type {(batch: JobReturn[]) => Refusal[]} */
  store(batch) {
    if (batch.length === 0) return [];
    const updates = batch.map(({ key, jid, minion, fun, success }) => ({
      filter: JSON.stringify({ _id: key }),
      change: JSON.stringify({ $set: { jid, minion, fun, success } }),
      upsert: true,
    }));
    // What the server refuses of single documents; all others are stored.
    return send(updates).map(({ index, code, message }) => ({
      index,
      failure: { tag: 'reject', val: `${message} (${code})` },
    }));
  },
};

/** @type {(updates: Update[]) => WriteError[]} */
function send(updates) {
  try {
    return updateMany('db', '{{snake}}', updates);
  } catch (error) {
    throw failure(error);
  }
}

// What a call of the host throws has a payload. The host tries `retry` again later, and sets `reject` aside as what will
// never be stored.
/** @type {(error: any) => Failure} */
function failure({ payload: { message, retryable } }) {
  return retryable ? { tag: 'retry', val: { message } } : { tag: 'reject', val: message };
}
