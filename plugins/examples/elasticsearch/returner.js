// elasticsearch: a document for each return, by the bulk interface of Elasticsearch and OpenSearch.
//
// Options: `url`, the server, and `index`, `salt-returns` if it is not said.

/** @import { Failure, JobReturn, Refusal } from 'salt:returner/types@0.1.0' */

import { get } from 'salt:returner/config@0.1.0';
import { send } from 'salt:returner/http@0.1.0';

export const about = {
  describe: () => ({ name: 'elasticsearch', version: '0.1.0', options: ['url', 'index'] }),
};

export const lifecycle = {
  setup() {
    if (get('url') === undefined) {
      const missing = 'the option `url` is missing: `elasticsearch.options: {url: "https://..."}`';
      throw /** @type {Failure} */ ({ tag: 'reject', val: missing });
    }
  },
};

export const returns = {
  // A document's id is the return's key: one that comes again takes its own place.
  /** @type {(batch: JobReturn[]) => Refusal[]} */
  store(batch) {
    if (batch.length === 0) return [];
    const lines = batch.flatMap((item) => [{ index: { _id: item.key } }, document(item)]);
    const answer = post(`${lines.map((line) => JSON.stringify(line)).join('\n')}\n`);
    if (!answer.errors) return [];
    return answer.items.flatMap(({ index: { status, error } }, place) =>
      status < 300 ? [] : [{ index: place, failure: failure(status, `${error.type}: ${error.reason}`) }]);
  },
};

/** @type {(item: JobReturn) => object} */
function document({ jid, minion, fun, success, retcode, value, accepted }) {
  // As text: what functions return has no fields that an index could keep apart.
  return { '@timestamp': new Date(Number(accepted)).toISOString(), jid, minion, fun, success, retcode, return: value };
}

/** @type {(body: string) => { errors: boolean, items: { index: { status: number, error: any } }[] }} */
function post(body) {
  const request = {
    method: 'POST',
    url: `${get('url')?.replace(/\/$/, '')}/${encodeURIComponent(get('index') ?? 'salt-returns')}/_bulk`,
    headers: /** @type {[string, string][]} */ ([['Content-Type', 'application/x-ndjson']]),
    body: new TextEncoder().encode(body),
  };
  const { status, body: answer } = sent(request);
  const text = new TextDecoder().decode(answer);
  if (status !== 200) throw failure(status, text.slice(0, 500));
  return JSON.parse(text);
}

/** @type {(request: import('salt:returner/http@0.1.0').Request) => import('salt:returner/http@0.1.0').Response} */
function sent(request) {
  try {
    return send(request);
  } catch (/** @type {any} */ error) {
    const { message, retryable } = error.payload;
    throw /** @type {Failure} */ (retryable ? { tag: 'retry', val: { message } } : { tag: 'reject', val: message });
  }
}

/** @type {(status: number, message: string) => Failure} */
function failure(status, message) {
  const text = `the server answered ${status}: ${message}`;
  // Busy, or its disk is full; an operator can mend rights, too.
  const retryable = [401, 403, 408, 429].includes(status) || status >= 500;
  return retryable ? { tag: 'retry', val: { message: text } } : { tag: 'reject', val: text };
}
