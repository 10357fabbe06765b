// {{name}}: posts each batch of returns to a web hook, as a JSON array.

/** @import { Failure, JobReturn, Refusal } from 'salt:returner/types@0.1.0' */

import { get } from 'salt:returner/config@0.1.0';
import { send } from 'salt:returner/http@0.1.0';

export const about = {
  // The options that it knows; the host refuses a configuration with another one.
  describe: () => ({ name: '{{name}}', version: '0.1.0', options: ['url'] }),
};

export const lifecycle = {
  // Runs before anything is stored, and again after each reload and while storing fails.
  setup() {
    url();
  },
};

export const returns = {
  // It returns only after the hook has said yes. What is tried again comes in the same call, or in parts of it.
  /** @type {(batch: JobReturn[]) => Refusal[]} */
  store(batch) {
    if (batch.length === 0) return [];
    const items = batch.map(({ key, jid, minion, fun, success }) => ({ key, jid, minion, fun, success }));
    const { status, headers } = post([
      ['Content-Type', 'application/json'],
      ['Idempotency-Key', idempotencyKey(batch)],
    ], JSON.stringify(items));
    if (status >= 200 && status < 300) return []; // all of it is stored; { index, failure } for each item that is not
    const message = `the web hook answered ${status}`;
    if ([400, 413, 422].includes(status)) { // the items are to blame
      throw /** @type {Failure} */ ({ tag: 'reject', val: message });
    }
    // A hook that is busy, and an address or a token that is wrong, can be mended.
    throw /** @type {Failure} */ ({ tag: 'retry', val: { message, after: retryAfter(headers) } });
  },
};

/** @type {(headers: [string, string][], body: string) => import('salt:returner/http@0.1.0').Response} */
function post(headers, body) {
  const request = { method: 'POST', url: url(), headers, body: new TextEncoder().encode(body) };
  try {
    return send(request);
  } catch (error) {
    throw failure(error);
  }
}

function url() {
  const value = get('url');
  if (value === undefined) {
    const missing = 'the option `url` is missing: add `{{name}}.options: {url: "https://..."}` to the configuration';
    throw /** @type {Failure} */ ({ tag: 'reject', val: missing });
  }
  return value;
}

// The same for the same returns: their keys, each 128 bits, in one.
/** @type {(batch: JobReturn[]) => string} */
function idempotencyKey(batch) {
  const together = batch.reduce((all, item) => all ^ BigInt(`0x${item.key}`), 0n);
  return together.toString(16).padStart(32, '0');
}

// `Retry-After` in milliseconds, where it says seconds and not a date.
/** @type {(headers: [string, string][]) => number | undefined} */
function retryAfter(headers) {
  const value = headers.find(([name]) => name.toLowerCase() === 'retry-after')?.[1];
  return value !== undefined && /^\d{1,6}$/.test(value) ? Number(value) * 1000 : undefined;
}

// What a call of the host throws has a payload. The host tries `retry` again later, and sets `reject` aside as what will
// never be stored.
/** @type {(error: any) => Failure} */
function failure({ payload: { message, retryable } }) {
  return retryable ? { tag: 'retry', val: { message } } : { tag: 'reject', val: message };
}
