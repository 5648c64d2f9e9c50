import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, it } from 'node:test'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { errorTable } from './errors.ts'
import { optionTable } from './options.ts'

/**
 * Names of all records in the tables of a folder, in the order of its files: a name that is there twice comes twice.
 */
const namesIn = async (folder: string, ending: string): Promise<string[]> => {
  const path = join(dirname(fileURLToPath(import.meta.url)), folder)
  const names: string[] = []
  for (const file of readdirSync(path)) {
    const exported = (await import(pathToFileURL(join(path, file)).href)) as Record<string, object>
    for (const [name, table] of Object.entries(exported)) if (name.endsWith(ending)) names.push(...Object.keys(table))
  }
  return names
}

describe('tables by subject', () => {
  it('errors: every record of every file is in the one table, and no code is in two files', async () => {
    assert.deepEqual((await namesIn('errors', 'Errors')).toSorted(), Object.keys(errorTable).toSorted())
  })

  it('options: every record of every file is in the one table, and no name is in two files', async () => {
    assert.deepEqual((await namesIn('options', 'Options')).toSorted(), Object.keys(optionTable).toSorted())
  })
})
