-- The tables of Salt's `sqlite3` returner, which Salt's own module reads and
-- writes, too: `full_ret` is what the function returned. What Salt's tables lack:
-- `ret`, the whole return, and the events.

CREATE TABLE IF NOT EXISTS `jids` (
  `jid` TEXT PRIMARY KEY,
  `load` TEXT NOT NULL
);

CREATE TABLE IF NOT EXISTS `salt_returns` (
  `fun` TEXT,
  `jid` TEXT,
  `id` TEXT,
  `fun_args` TEXT,
  `date` TEXT NOT NULL,
  `full_ret` TEXT NOT NULL,
  `success` TEXT NOT NULL,
  `ret` TEXT
);

CREATE INDEX IF NOT EXISTS `salt_returns_jid` ON `salt_returns` (`jid`, `id`);

CREATE INDEX IF NOT EXISTS `salt_returns_id` ON `salt_returns` (`id`);

CREATE INDEX IF NOT EXISTS `salt_returns_fun` ON `salt_returns` (`fun`, `id`, `jid`);

CREATE TABLE IF NOT EXISTS `salt_events` (
  `id` INTEGER PRIMARY KEY,
  `tag` TEXT NOT NULL,
  `data` TEXT NOT NULL,
  `alter_time` TEXT NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')),
  `master_id` TEXT NOT NULL
);

CREATE INDEX IF NOT EXISTS `salt_events_tag` ON `salt_events` (`tag`);
