/** Each family in both of its formats, against a float64 oracle and against llama.cpp itself. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { hasGgml } from '../../engine/ggml/library.ts'
import { openGguf } from '../gguf/gguf.ts'
import { openTensors } from '../safetensors.ts'
import { storedTensor } from '../stored-tensors.ts'
import type { TensorStore } from '../tensor-file.ts'
import { bindGguf, bindSafetensors, safetensorsNames } from './bind.ts'
import type { ModelSpec } from './model-spec.ts'
import {
  type Checkpoint,
  checkpointOf,
  fileTensors,
  writeCheckpoint,
  writeGgufCheckpoint,
} from './random-checkpoint.ts'
import { readGgufSpec } from './read-gguf-spec.ts'
import { readSpec } from './read-spec.ts'
import type { RoleTensor, StoredTensor } from './tensor-roles.ts'
import { type LlamaCpp, startLlamaCpp } from './test/llama-cpp.ts'
import { oracleLogits } from './test/oracle.ts'
import { tinyFamilies } from './test/tiny-models.ts'

/** Beyond every window and original context of the tiny models. */
const tokenCount = 48

const folder = mkdtempSync(join(tmpdir(), 'mesh-families-'))
// an optional dependency: there is none for some machines
let llama: LlamaCpp | undefined
before(() => {
  if (hasGgml()) llama = startLlamaCpp()
})
after(async () => {
  await llama?.close()
  rmSync(folder, { recursive: true, force: true })
})

const storedOf = ({ tensors }: TensorStore): Map<string, StoredTensor> =>
  new Map([...tensors].map(([name, info]): [string, StoredTensor] => [name, storedTensor(info)]))

/** Largest difference, of the largest value. */
const distance = (got: readonly ArrayLike<number>[], want: readonly ArrayLike<number>[]): number => {
  let [most, largest] = [0, 0]
  for (const [row, values] of want.entries()) {
    for (let i = 0; i < values.length; i++) {
      most = Math.max(most, Math.abs(got[row][i] - values[i]))
      largest = Math.max(largest, Math.abs(values[i]))
    }
  }
  return most / largest
}

/** Every number near, everything else equal. */
const assertNear = (got: unknown, want: unknown, at: string): void => {
  if (typeof want === 'number') {
    assert.ok(Math.abs((got as number) - want) <= 2e-7 * Math.abs(want), `${at}: ${String(got)}, not ${want}`)
  } else if (typeof want === 'object' && want !== null) {
    const [a, b] = [got as object, want as object]
    assert.deepEqual(Object.keys(a), Object.keys(b), at)
    for (const [key, value] of Object.entries(b)) assertNear(a[key as keyof object], value, `${at}.${key}`)
  } else assert.equal(got, want, at)
}

/** Same values, also when they are read in pieces; bytes are those of the values. */
const assertSame = (got: ReadonlyMap<string, RoleTensor>, want: ReadonlyMap<string, RoleTensor>): void => {
  assert.deepEqual([...got.keys()], [...want.keys()])
  for (const [role, tensor] of want) {
    const own = got.get(role) as RoleTensor
    const middle = Math.floor(tensor.rows / 3)
    const values = [...own.readRows(0, middle), ...own.readRows(middle, tensor.rows)]
    const bytes = own.readBytes(middle, tensor.rows)
    assert.deepEqual(new Float32Array(bytes.slice().buffer), Float32Array.from(values.slice(middle * tensor.columns)))
    for (const [i, value] of tensor.readRows(0, tensor.rows).entries())
      assert.ok(Math.abs(values[i] - value) <= 2e-7 * Math.max(1, Math.abs(value)), `${role}[${i}]`)
  }
}

/** With the one part that ggml rounds on purpose: its gelu. */
const asLlamaCpp = (spec: ModelSpec): ModelSpec =>
  JSON.parse(JSON.stringify(spec).replaceAll('"geluTanh"', '"geluTable"')) as ModelSpec

const same = (checkpoint: Checkpoint): Checkpoint => checkpoint

for (const { name, config, seed, gguf, comparable = tokenCount, inGguf = same } of tinyFamilies) {
  test(`families: ${name}: both formats hold the same model, and llama.cpp computes what the oracle does`, async (t) => {
    const checkpoint = checkpointOf({ config, seed })
    const { spec } = checkpoint

    const place = join(folder, name)
    writeCheckpoint(place, config, checkpoint)
    const store = openTensors(place)
    t.after(() => store.close())
    const ofFolder = readSpec(config, { file: place })
    assertSame(bindSafetensors({ ...ofFolder, tensors: storedOf(store), folder: place }).roles, checkpoint.roles)

    const file = join(folder, `${name}.gguf`)
    const asGguf = inGguf(checkpoint)
    writeGgufCheckpoint(file, asGguf, gguf(spec))
    const model = openGguf(file)
    t.after(() => model.close())
    const tensors = storedOf(model)
    const ofFile = readGgufSpec({ file, metadata: model.metadata, tensors })
    assertNear({ ...ofFile.spec, family: '' }, { ...asGguf.spec, family: '' }, 'spec')
    assertSame(bindGguf({ ...ofFile, tensors, folder: file }).roles, asGguf.roles)

    const tokens = Array.from({ length: tokenCount }, (_, i) => (i * 89 + seed * 7) % spec.vocab)
    const reference = comparable === 0 ? undefined : await llama?.logits(file, tokens)
    if (!reference) return
    const want = oracleLogits(asLlamaCpp(spec), checkpoint.roles, tokens)
    const apart = distance(reference.slice(0, comparable), want.slice(0, comparable))
    t.diagnostic(`llama.cpp is ${apart.toExponential(1)} of the largest logit away`)
    // ggml's table of gelu has f16 on both sides: what is near a tie falls to the other side
    const bound = JSON.stringify(spec).includes('geluTanh') ? 1e-3 : 1e-4
    assert.ok(apart < bound, `llama.cpp: ${apart}`)
  })
}

test('roles: rows of fused tensors of safetensors are those that their makers lay there', () => {
  const fileOf = (name: string) => {
    const checkpoint = checkpointOf(tinyFamilies.find((one) => one.name === name) as (typeof tinyFamilies)[number])
    const { spec, family, roles } = checkpoint
    const role = (part: string): Float32Array => {
      const tensor = roles.get(`layers.1.${part}`) as RoleTensor
      return tensor.readRows(0, tensor.rows)
    }
    return { files: fileTensors(spec, roles, safetensorsNames(family)), role }
  }
  const oss = fileOf('gpt-oss')
  const [experts, hidden, ffn] = [5, 48, 40]
  const gateUp = oss.files.get('model.layers.1.mlp.experts.gate_up_proj')
  assert.deepEqual(gateUp?.dims, [experts, hidden, 2 * ffn])
  const down = oss.files.get('model.layers.1.mlp.experts.down_proj')
  assert.deepEqual(down?.dims, [experts, ffn, hidden])
  const bias = oss.files.get('model.layers.1.mlp.experts.gate_up_proj_bias')
  assert.deepEqual(bias?.dims, [experts, 2 * ffn])
  for (const [e, h, f] of [
    [0, 0, 0],
    [3, 7, 11],
    [4, 47, 39],
  ]) {
    const at = (e * hidden + h) * 2 * ffn + 2 * f
    assert.equal(gateUp.values[at], oss.role('mlp.experts.gate')[(e * ffn + f) * hidden + h])
    assert.equal(gateUp.values[at + 1], oss.role('mlp.experts.up')[(e * ffn + f) * hidden + h])
    assert.equal(down.values[(e * ffn + f) * hidden + h], oss.role('mlp.experts.down')[(e * hidden + h) * ffn + f])
    assert.equal(bias.values[e * 2 * ffn + 2 * f + 1], oss.role('mlp.experts.up.bias')[e * ffn + f])
  }
  const phi = fileOf('phi3')
  const qkv = phi.files.get('model.layers.1.self_attn.qkv_proj.weight')
  assert.deepEqual(qkv?.dims, [48 + 16 + 16, 48])
  assert.deepEqual(
    [...qkv.values],
    ['q', 'k', 'v'].flatMap((part) => [...phi.role(`attention.${part}`)]),
  )
  const both = phi.files.get('model.layers.1.mlp.gate_up_proj.weight')
  assert.deepEqual(
    [...(both?.values ?? [])],
    ['gate', 'up'].flatMap((part) => [...phi.role(`mlp.${part}`)]),
  )
})

test('roles: a tensor that is missing, of another shape, or of no role is refused by its name', () => {
  const { spec, family, roles } = checkpointOf(tinyFamilies[0])
  const files = fileTensors(spec, roles, safetensorsNames(family))
  const tensors = new Map(
    [...files].map(([name, { dims }]): [string, StoredTensor] => [
      name,
      { name, dims, type: 'F32', readRows: () => new Float32Array(), readBytes: () => new Uint8Array() },
    ]),
  )
  const bind = (change: (tensors: Map<string, StoredTensor>) => void) => {
    const changed = new Map(tensors)
    change(changed)
    return bindSafetensors({ family, spec, tensors: changed, folder: 'here' })
  }
  const q = 'model.layers.0.self_attn.q_proj.weight'
  const of = (dims: readonly number[], type: StoredTensor['type'] = 'F32'): StoredTensor => ({
    ...(tensors.get(q) as StoredTensor),
    dims,
    type,
  })
  bind((all) => all.set('model.layers.0.self_attn.rotary_emb.inv_freq', of([4])))
  assert.throws(() => bind((all) => all.delete(q)), { code: 'tensorMissing', message: /q_proj/ })
  assert.throws(() => bind((all) => all.set(q, of([16, 144]))), { code: 'tensorShape', message: /q_proj.*48, 48/s })
  assert.throws(() => bind((all) => all.set(`${q}_scale`, of([1]))), {
    code: 'tensorUnknown',
    message: /q_proj.weight_scale/,
  })
  assert.throws(() => bind((all) => all.set('model.norm.weight', of([48], 'Q8_0'))), { code: 'dtypeUnsupported' })
})
