CREATE TABLE `devices` (
	`device_id` text PRIMARY KEY NOT NULL,
	`network_id` text NOT NULL,
	`name` text NOT NULL,
	`capabilities` text NOT NULL,
	`created_at` integer NOT NULL,
	`last_seen_at` integer NOT NULL,
	FOREIGN KEY (`network_id`) REFERENCES `networks`(`network_id`) ON UPDATE no action ON DELETE no action
);
--> statement-breakpoint
CREATE TABLE `job_events` (
	`job_id` text NOT NULL,
	`sequence` integer NOT NULL,
	`event` text NOT NULL,
	PRIMARY KEY(`job_id`, `sequence`),
	FOREIGN KEY (`job_id`) REFERENCES `jobs`(`job_id`) ON UPDATE no action ON DELETE no action
);
--> statement-breakpoint
CREATE TABLE `jobs` (
	`job_id` text PRIMARY KEY NOT NULL,
	`pool_id` text NOT NULL,
	`submitted_by` text NOT NULL,
	`idempotency_key` text NOT NULL,
	`model_id` text NOT NULL,
	`submission` text NOT NULL,
	`state` text NOT NULL,
	`world_size` integer NOT NULL,
	`epoch` integer NOT NULL,
	`received` integer NOT NULL,
	`result` text,
	`created_at` integer NOT NULL,
	`started_at` integer,
	`finished_at` integer,
	FOREIGN KEY (`pool_id`) REFERENCES `pools`(`pool_id`) ON UPDATE no action ON DELETE no action
);
--> statement-breakpoint
CREATE UNIQUE INDEX `jobs_idempotency` ON `jobs` (`pool_id`,`submitted_by`,`idempotency_key`);--> statement-breakpoint
CREATE INDEX `jobs_queue` ON `jobs` (`pool_id`,`model_id`,`state`,`created_at`);--> statement-breakpoint
CREATE TABLE `join_requests` (
	`pool_id` text NOT NULL,
	`device_id` text NOT NULL,
	`created_at` integer NOT NULL,
	PRIMARY KEY(`pool_id`, `device_id`),
	FOREIGN KEY (`pool_id`) REFERENCES `pools`(`pool_id`) ON UPDATE no action ON DELETE no action,
	FOREIGN KEY (`device_id`) REFERENCES `devices`(`device_id`) ON UPDATE no action ON DELETE no action
);
--> statement-breakpoint
CREATE TABLE `memberships` (
	`pool_id` text NOT NULL,
	`device_id` text NOT NULL,
	`role` text NOT NULL,
	`certificate` text NOT NULL,
	`not_after` integer NOT NULL,
	PRIMARY KEY(`pool_id`, `device_id`),
	FOREIGN KEY (`pool_id`) REFERENCES `pools`(`pool_id`) ON UPDATE no action ON DELETE no action
);
--> statement-breakpoint
CREATE INDEX `memberships_device` ON `memberships` (`device_id`);--> statement-breakpoint
CREATE TABLE `networks` (
	`network_id` text PRIMARY KEY NOT NULL,
	`created_at` integer NOT NULL
);
--> statement-breakpoint
CREATE TABLE `pools` (
	`pool_id` text PRIMARY KEY NOT NULL,
	`network_id` text NOT NULL,
	`name` text NOT NULL,
	`root_public_key` text NOT NULL,
	`created_at` integer NOT NULL,
	FOREIGN KEY (`network_id`) REFERENCES `networks`(`network_id`) ON UPDATE no action ON DELETE no action
);
--> statement-breakpoint
CREATE TABLE `ring_wishes` (
	`ring_id` text NOT NULL,
	`device_id` text NOT NULL,
	`share` real NOT NULL,
	`joined_at` integer NOT NULL,
	PRIMARY KEY(`ring_id`, `device_id`),
	FOREIGN KEY (`ring_id`) REFERENCES `rings`(`ring_id`) ON UPDATE no action ON DELETE no action,
	FOREIGN KEY (`device_id`) REFERENCES `devices`(`device_id`) ON UPDATE no action ON DELETE no action
);
--> statement-breakpoint
CREATE TABLE `rings` (
	`ring_id` text PRIMARY KEY NOT NULL,
	`pool_id` text NOT NULL,
	`model_id` text NOT NULL,
	`quant` text NOT NULL,
	`model` text NOT NULL,
	`epoch` integer NOT NULL,
	`members` text NOT NULL,
	`updated_at` integer NOT NULL,
	FOREIGN KEY (`pool_id`) REFERENCES `pools`(`pool_id`) ON UPDATE no action ON DELETE no action
);
--> statement-breakpoint
CREATE UNIQUE INDEX `rings_pool_model` ON `rings` (`pool_id`,`model_id`);