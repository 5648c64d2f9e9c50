/** Which frequencies a sequence gets is decided by what it may reach, for each sequence of a step. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { checkpointOf } from '../model/architecture/random-checkpoint.ts'
import { oracleLogits } from '../model/architecture/test/oracle.ts'
import { tinyFamilies } from '../model/architecture/test/tiny-models.ts'
import { shapeOf } from '../model/model-shape.ts'
import { inlineBackends } from './test/inline-backend.ts'
import { relativeError } from './test/reference-model.ts'
import { openPartsRing } from './test/ring-of-parts.ts'
import { rolesIn, tokensOf } from './test/worst-error.ts'

const bound = 2e-3
/** Of the tiny model. */
const firstContext = 32

test(
  'ggml: longrope: short and long sequences in one step, in worlds of one to four',
  { skip: !inlineBackends.ggml },
  async (t) => {
    const create = inlineBackends.ggml
    const tiny = tinyFamilies.find(({ name }) => name === 'phi3, longrope')
    assert.ok(create && tiny)
    const { spec, roles } = checkpointOf(tiny)
    const tokens = tokensOf(spec, [40])
    const sequences = [
      { slot: 1, planned: firstContext, length: 20 },
      { slot: 2, planned: firstContext + 1, length: 20 },
      { slot: 3, planned: firstContext, length: 9 },
      { slot: 4, planned: undefined, length: 40 },
    ]
    const wanted = sequences.map(({ planned, length }) =>
      oracleLogits(spec, roles, tokens.slice(0, length), planned ?? spec.context),
    )
    assert.ok(relativeError(Float32Array.from(wanted[0][19]), wanted[1][19]) > 0.01, 'both kinds of frequencies differ')
    for (const shares of [[1], [2, 1], [1, 3, 1], [1, 1, 1, 2]]) {
      const folder = mkdtempSync(join(tmpdir(), 'mesh-longrope-'))
      t.after(() => rmSync(folder, { recursive: true, force: true }))
      const ring = await openPartsRing({
        spec,
        shape: shapeOf(spec),
        roles: rolesIn(roles, spec),
        shares,
        quant: 'f32',
        folder,
        create,
      })
      /** Of some tokens of all sequences, from those positions on. */
      const step = async (ranges: readonly { readonly from: number; readonly to: number }[]): Promise<void> => {
        const got = await ring.step(
          sequences.map(({ slot, planned }, index) => {
            const { from, to } = ranges[index]
            return { slot, planned, position: from, tokens: tokens.slice(from, to), logits: 'last' as const }
          }),
        )
        for (const [index, logits] of got.entries()) {
          const error = relativeError(logits, wanted[index][ranges[index].to - 1])
          assert.ok(error < bound, `shares ${shares.join(' ')}, sequence ${index}: relative error ${error}`)
        }
      }
      try {
        await step(sequences.map(({ length }) => ({ from: 0, to: length - 1 })))
        await step(sequences.map(({ length }) => ({ from: length - 1, to: length })))
      } finally {
        await ring.close()
      }
    }
  },
)
