/** Text that is shown piece by piece, of every kind of tokenizer that models have. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { families, hardTexts } from '../model/tokenizer/test/families.ts'
import { loadTokenizer } from '../model/tokenizer.ts'
import { createDetokenizer } from './detokenize.ts'

const folder = mkdtempSync(join(tmpdir(), 'mesh-streaming-'))
after(() => rmSync(folder, { recursive: true, force: true }))

for (const [name, family] of Object.entries(families)) {
  test(`streaming, ${name}: pieces of 500 hard texts are the whole text`, () => {
    writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify(family))
    const tokenizer = loadTokenizer(folder)
    for (const text of hardTexts) {
      const ids = tokenizer.encode(text, { special: true })
      const stream = createDetokenizer(tokenizer)
      const shown = ids.map((id) => stream.push(id)).join('') + stream.finish()
      assert.equal(shown, tokenizer.decode(ids), JSON.stringify(text))
    }
  })
}
