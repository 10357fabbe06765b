-- The tables of Salt's `mysql` returner, with room for everything that Salt sends:
-- all of Unicode, long names of functions, values over 16 MB. Salt's own modules
-- read and write them, too.
--
-- `seq` is for replication, which wants a primary key in every table.

CREATE TABLE IF NOT EXISTS `jids` (
  `jid` varchar(255) NOT NULL,
  `load` longtext NOT NULL,
  PRIMARY KEY (`jid`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE IF NOT EXISTS `salt_returns` (
  `fun` varchar(255) NOT NULL,
  `jid` varchar(255) NOT NULL,
  `return` longtext NOT NULL,
  `id` varchar(255) NOT NULL,
  `success` varchar(10) NOT NULL,
  `full_ret` longtext NOT NULL,
  `alter_time` timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,
  `seq` bigint unsigned NOT NULL AUTO_INCREMENT,
  PRIMARY KEY (`seq`),
  KEY `jid` (`jid`, `id`),
  KEY `id` (`id`),
  KEY `fun` (`fun`, `id`, `jid`),
  KEY `alter_time` (`alter_time`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE IF NOT EXISTS `salt_events` (
  `id` bigint NOT NULL AUTO_INCREMENT,
  `tag` varchar(1024) NOT NULL,
  `data` longtext NOT NULL,
  `alter_time` timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,
  `master_id` varchar(255) NOT NULL,
  PRIMARY KEY (`id`),
  KEY `tag` (`tag`(255)),
  KEY `alter_time` (`alter_time`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
