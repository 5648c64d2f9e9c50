CREATE TABLE `billed_jobs` (
	`job_id` text PRIMARY KEY NOT NULL,
	`pool_id` text NOT NULL,
	`submitted_by` text NOT NULL,
	`epoch` integer NOT NULL,
	`model_weights` integer NOT NULL,
	`tokens` integer NOT NULL,
	`workers` text NOT NULL,
	`finished_at` integer NOT NULL,
	`settled_at` integer,
	FOREIGN KEY (`job_id`) REFERENCES `jobs`(`job_id`) ON UPDATE no action ON DELETE no action,
	FOREIGN KEY (`pool_id`) REFERENCES `pools`(`pool_id`) ON UPDATE no action ON DELETE no action
);
--> statement-breakpoint
CREATE INDEX `billed_jobs_due` ON `billed_jobs` (`settled_at`,`finished_at`);--> statement-breakpoint
CREATE TABLE `credit_days` (
	`pool_id` text NOT NULL,
	`device_id` text NOT NULL,
	`day` integer NOT NULL,
	`earned` integer NOT NULL,
	`used` integer NOT NULL,
	PRIMARY KEY(`pool_id`, `device_id`, `day`),
	FOREIGN KEY (`pool_id`) REFERENCES `pools`(`pool_id`) ON UPDATE no action ON DELETE no action
);
--> statement-breakpoint
CREATE TABLE `job_statements` (
	`job_id` text NOT NULL,
	`device_id` text NOT NULL,
	`kind` text NOT NULL,
	`statement` text NOT NULL,
	PRIMARY KEY(`job_id`, `device_id`, `kind`),
	FOREIGN KEY (`job_id`) REFERENCES `jobs`(`job_id`) ON UPDATE no action ON DELETE no action
);
--> statement-breakpoint
CREATE TABLE `ledger_entries` (
	`pool_id` text NOT NULL,
	`sequence` integer NOT NULL,
	`device_id` text NOT NULL,
	`kind` text NOT NULL,
	`job_id` text NOT NULL,
	`epoch` integer NOT NULL,
	`weights` integer NOT NULL,
	`tokens` integer NOT NULL,
	`compute_us` integer NOT NULL,
	`model_weights` integer NOT NULL,
	`amount` integer NOT NULL,
	`settled_at` integer NOT NULL,
	`signature` text,
	`hash` text NOT NULL,
	PRIMARY KEY(`pool_id`, `sequence`),
	FOREIGN KEY (`pool_id`) REFERENCES `pools`(`pool_id`) ON UPDATE no action ON DELETE no action
);
--> statement-breakpoint
CREATE UNIQUE INDEX `ledger_entries_once` ON `ledger_entries` (`job_id`,`kind`,`device_id`);--> statement-breakpoint
CREATE INDEX `ledger_entries_time` ON `ledger_entries` (`pool_id`,`settled_at`);--> statement-breakpoint
CREATE TABLE `participants` (
	`pool_id` text NOT NULL,
	`device_id` text NOT NULL,
	`since` integer NOT NULL,
	PRIMARY KEY(`pool_id`, `device_id`),
	FOREIGN KEY (`pool_id`) REFERENCES `pools`(`pool_id`) ON UPDATE no action ON DELETE no action
);
--> statement-breakpoint
CREATE TRIGGER `ledger_entries_no_update` BEFORE UPDATE ON `ledger_entries` BEGIN
	SELECT RAISE(ABORT, 'the ledger only grows: its entries cannot be changed');
END;
--> statement-breakpoint
CREATE TRIGGER `ledger_entries_no_delete` BEFORE DELETE ON `ledger_entries` BEGIN
	SELECT RAISE(ABORT, 'the ledger only grows: its entries cannot be removed');
END;
--> statement-breakpoint
CREATE TRIGGER `ledger_entries_next` BEFORE INSERT ON `ledger_entries`
WHEN NEW.`sequence` IS NOT (SELECT COALESCE(MAX(`sequence`), 0) + 1 FROM `ledger_entries` WHERE `pool_id` = NEW.`pool_id`)
	OR EXISTS (SELECT 1 FROM `ledger_entries` WHERE `job_id` = NEW.`job_id` AND `kind` = NEW.`kind` AND `device_id` = NEW.`device_id`) BEGIN
	SELECT RAISE(ABORT, 'the ledger only grows: an entry must be the next one, and new');
END;
