/**
 * Tokens and texts of the kinds of tokenizers that models have, beside those of Rust's `tokenizers`
 * (test/goldens.json).
 */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { loadTokenizer } from '../tokenizer.ts'
import { families, hardTexts } from './test/families.ts'
import { hashDigits, hashOf } from './test/golden-hash.ts'

const { hashes } = JSON.parse(readFileSync(new URL('./test/goldens.json', import.meta.url), 'utf8')) as {
  hashes: Record<string, string>
}

for (const [name, json] of Object.entries(families)) {
  test(`tokenizer of ${name}: tokens of 500 hard texts and their text are those of Rust`, () => {
    const folder = mkdtempSync(join(tmpdir(), 'mesh-tokenizer-'))
    try {
      writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify(json))
      const tokenizer = loadTokenizer(folder)
      assert.equal(hashes[name].length, hardTexts.length * hashDigits)
      for (const [index, text] of hardTexts.entries()) {
        const parsed = tokenizer.encode(text, { special: true })
        const cut = { parsed, plain: tokenizer.encode(text), decoded: tokenizer.decode(parsed) }
        assert.equal(
          hashOf(cut),
          hashes[name].slice(index * hashDigits, (index + 1) * hashDigits),
          `${JSON.stringify(text)} became ${JSON.stringify(cut)}`,
        )
      }
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  })
}
