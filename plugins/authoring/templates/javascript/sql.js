// {{name}}: a row for each return in the table `{{snake}}`.

/** @import { Failure, JobReturn, Refusal } from 'salt:returner/types@0.1.0' */
/** @import { Value } from 'salt:returner/sql@0.1.0' */

import { get } from 'salt:returner/config@0.1.0';
import { execute } from 'salt:returner/sql@0.1.0';

const ROWS = 500; // of one statement: databases limit its parameters

export const about = {
  // The options that it knows; the host refuses a configuration with another one.
  describe: () => ({ name: '{{name}}', version: '0.1.0', options: ['severity'] }),
};

export const lifecycle = {
  // Runs before anything is stored, and again after each reload and while storing fails.
  setup() {
    run(
      'CREATE TABLE IF NOT EXISTS {{snake}} (item_key varchar(32) PRIMARY KEY, jid varchar(255), ' +
        'minion varchar(255), fun varchar(255), severity varchar(32))',
      [],
    );
  },
};

export const returns = {
  // All statements of one call are one transaction: a return commits it, what is thrown undoes it.
  /** @type {(batch: JobReturn[]) => Refusal[]} */
  store(batch) {
    const usual = get('severity') ?? 'info';
    for (let start = 0; start < batch.length; start += ROWS) {
      const items = batch.slice(start, start + ROWS);
      // Of these an earlier delivery may have been stored; `key` is the same each time.
      const again = items.filter((item) => item.redelivered).map((item) => text(item.key));
      if (again.length > 0) {
        run(`DELETE FROM {{snake}} WHERE item_key IN (${again.map(() => '?').join(', ')})`, again);
      }
      const rows = items.map(() => '(?, ?, ?, ?, ?)').join(', ');
      run(`INSERT INTO {{snake}} (item_key, jid, minion, fun, severity) VALUES ${rows}`, items.flatMap((item) => row(item, usual)));
    }
    return []; // all of it is stored; { index, failure } for each item that is not
  },
};

/** @type {(item: JobReturn, usual: string) => Value[]} */
const row = ({ key, jid, minion, fun, success }, usual) =>
  [key, jid, minion, fun, success ? usual : 'error'].map(text);

/** @type {(val: string) => Value} */
const text = (val) => ({ tag: 'text', val });

// `db` is what the configuration calls the database, in `{{name}}.connections`.
/** @type {(statement: string, values: Value[]) => void} */
function run(statement, values) {
  try {
    execute('db', statement, values);
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
