CREATE TABLE `sum_findings` (
	`pool_id` text NOT NULL,
	`model_id` text NOT NULL,
	`device_id` text NOT NULL,
	`verdict` text NOT NULL,
	`accusers` text NOT NULL,
	`checks` integer NOT NULL,
	`wrong` integer NOT NULL,
	`worst` real NOT NULL,
	`epoch` integer NOT NULL,
	`at` integer NOT NULL,
	PRIMARY KEY(`pool_id`, `model_id`, `device_id`),
	FOREIGN KEY (`pool_id`) REFERENCES `pools`(`pool_id`) ON UPDATE no action ON DELETE no action
);
