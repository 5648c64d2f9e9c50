ALTER TABLE `job_events` ADD `piece` blob;--> statement-breakpoint
ALTER TABLE `jobs` ADD `text_form` integer DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE `jobs` ADD `asked` blob;--> statement-breakpoint
ALTER TABLE `jobs` ADD `answer` blob;--> statement-breakpoint
ALTER TABLE `jobs` ADD `text_since` integer;--> statement-breakpoint
CREATE INDEX `jobs_text` ON `jobs` (`text_form`,`text_since`);