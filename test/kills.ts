/**
 * All kills of join, lock, unlock and settle, one after another: `node test/kills.ts --full` for all 338, without it
 * for a few of each.
 */
for (const what of ['join', 'lock', 'settle']) await import(`./${what}-kills.test.ts`)
