/** All ranks send each row through the same experts, also where two are worth the same. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { type TestContext, test } from 'node:test'
import { planShards, sizeOf } from '../../shared/plan/shard-plan.ts'
import { randomRoles } from '../model/architecture/random-checkpoint.ts'
import { oracleLogits } from '../model/architecture/test/oracle.ts'
import type { RoleTensor } from '../model/architecture/tensor-roles.ts'
import { shapeOf } from '../model/model-shape.ts'
import { columnsOf } from '../model/shard-ranges.ts'
import { Router } from './router.ts'
import { inlineBackends } from './test/inline-backend.ts'
import { specs } from './test/specs.ts'
import { tokensOf, worstError } from './test/worst-error.ts'

const worlds = [[1], [1, 1], [3, 1, 2], [1, 2, 1, 1]] as const
const chunks = [40, 1, 1]
const bound = 2e-4
/** Of the experts of those specs. */
const expertColumns = 160

/** Each odd expert has the row and the bias of the one before: both are always worth the same. */
const inPairs = (roles: ReadonlyMap<string, RoleTensor>): Map<string, RoleTensor> => {
  const twice = (tensor: RoleTensor): RoleTensor => ({
    ...tensor,
    readRows: (start, end) =>
      Float32Array.from(
        Array.from({ length: end - start }, (_, i) => start + i).flatMap((row) => {
          const even = row - (row % 2)
          return [...tensor.readRows(even, even + 1)]
        }),
      ),
  })
  return new Map([...roles].map(([name, tensor]) => [name, name.includes('.mlp.router') ? twice(tensor) : tensor]))
}

interface Choices {
  /** What each rank chose for one residual, one hash each. */
  readonly byRank: string[]
  readonly ids: Int32Array
  /** Of each row. */
  readonly used: number
}

const hashOf = (values: Float32Array | Int32Array): string =>
  createHash('sha256')
    .update(new Uint8Array(values.buffer, values.byteOffset, values.byteLength))
    .digest('hex')

/** Notes what every router of every rank chooses. Residuals are the same on all ranks, and different in each half. */
const watch = ({ mock }: TestContext): Map<string, Choices> => {
  const seen = new Map<string, Choices>()
  const { route } = Router.prototype
  mock.method(
    Router.prototype,
    'route',
    function watched(this: Router, residual: Float32Array, ids: Int32Array, factors: Float32Array) {
      route.call(this, residual, ids, factors)
      const key = hashOf(residual)
      const choices = seen.get(key) ?? { byRank: [], ids: ids.slice(), used: this.experts.used }
      choices.byRank.push(hashOf(ids))
      seen.set(key, choices)
    },
  )
  return seen
}

/** One hash of all that was chosen in a run, in the order of its steps, layers and rows: lanes keep it. */
const hashOfRun = (seen: ReadonlyMap<string, Choices>): string =>
  hashOf(Int32Array.from([...seen.values()].flatMap(({ ids }) => [...ids])))

const withExperts = Object.entries(specs).filter(([, { kinds }]) =>
  kinds.every(({ feedForward: { experts } }) => experts?.ffn === expertColumns),
)

for (const [name, spec] of withExperts)
  test(
    `ggml: ${name}: all ranks of worlds of one to four choose the same`,
    { skip: !inlineBackends.ggml },
    async (t) => {
      const roles = inPairs(randomRoles(spec, 2))
      const want = oracleLogits(spec, roles, tokensOf(spec, chunks))
      const hashes: string[] = []
      for (const shares of worlds) {
        const plan = planShards(shapeOf(spec), shares)
        const holders = plan.filter((ranges) => sizeOf(columnsOf(spec, ranges, expertColumns)) > 0).length
        const seen = watch(t)
        const error = await worstError({ spec, roles, quant: 'f32', shares, chunks }, want)
        t.mock.restoreAll()
        assert.ok(error < bound, `shares ${shares.join(' ')}: relative error ${error}`)
        for (const { byRank, ids, used } of seen.values()) {
          assert.equal(byRank.length, holders)
          assert.deepEqual(new Set(byRank).size, 1, `shares ${shares.join(' ')}: ranks chose other experts`)
          assertLowerFirst(ids, used)
        }
        hashes.push(hashOfRun(seen))
      }
      assert.equal(new Set(hashes).size, 1, 'one choice in all worlds')
    },
  )

/** An odd expert is chosen only right behind its equal. */
function assertLowerFirst(ids: Int32Array, used: number): void {
  for (const [at, expert] of ids.entries())
    if (expert % 2 === 1) assert.ok(at % used > 0 && ids[at - 1] === expert - 1, `${ids.join(' ')}: ${expert} alone`)
}
