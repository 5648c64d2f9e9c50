CREATE TABLE `api_keys` (
	`key_id` text PRIMARY KEY NOT NULL,
	`pool_id` text NOT NULL,
	`device_id` text NOT NULL,
	`name` text NOT NULL,
	`hash` text NOT NULL,
	`tokens_per_day` integer,
	`created_at` integer NOT NULL,
	`expires_at` integer NOT NULL,
	`revoked_at` integer,
	`last_used_at` integer,
	FOREIGN KEY (`pool_id`) REFERENCES `pools`(`pool_id`) ON UPDATE no action ON DELETE no action
);
--> statement-breakpoint
CREATE INDEX `api_keys_maker` ON `api_keys` (`pool_id`,`device_id`);--> statement-breakpoint
DROP INDEX `jobs_idempotency`;--> statement-breakpoint
ALTER TABLE `jobs` ADD `key_id` text DEFAULT '' NOT NULL;--> statement-breakpoint
ALTER TABLE `jobs` ADD `quota_tokens` integer DEFAULT 0 NOT NULL;--> statement-breakpoint
CREATE INDEX `jobs_key` ON `jobs` (`key_id`,`finished_at`);--> statement-breakpoint
CREATE UNIQUE INDEX `jobs_idempotency` ON `jobs` (`pool_id`,`submitted_by`,`key_id`,`idempotency_key`);