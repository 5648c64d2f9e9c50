CREATE TABLE `request_nonces` (
	`device_id` text NOT NULL,
	`nonce` text NOT NULL,
	`expires_at` integer NOT NULL,
	PRIMARY KEY(`device_id`, `nonce`)
);
--> statement-breakpoint
CREATE INDEX `request_nonces_expiry` ON `request_nonces` (`expires_at`);--> statement-breakpoint
CREATE TABLE `revocations` (
	`pool_id` text PRIMARY KEY NOT NULL,
	`list` text NOT NULL,
	FOREIGN KEY (`pool_id`) REFERENCES `pools`(`pool_id`) ON UPDATE no action ON DELETE no action
);
--> statement-breakpoint
ALTER TABLE `join_requests` ADD `invite` text;--> statement-breakpoint
ALTER TABLE `join_requests` ADD `denied` text;