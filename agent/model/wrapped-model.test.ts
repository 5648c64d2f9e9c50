/** Multimodal checkpoints: text inside, with weights that others quantised, said at either level of config.json. */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { safetensorsNames } from './architecture/bind.ts'
import { checkpointOf, fileTensors } from './architecture/random-checkpoint.ts'
import { tinyFamilies } from './architecture/test/tiny-models.ts'
import type { Json } from './json.ts'
import { openSource } from './model-source.ts'
import { e4m3Values } from './quantized/fp8.ts'

const root = mkdtempSync(join(tmpdir(), 'mesh-wrapped-'))
after(() => rmSync(root, { recursive: true, force: true }))

interface FileTensor {
  readonly dtype: string
  readonly dims: readonly number[]
  readonly data: ArrayBufferView
}

const writeSafetensors = (file: string, tensors: ReadonlyMap<string, FileTensor>): void => {
  const header: Record<string, object> = {}
  const parts: Buffer[] = []
  let end = 0
  for (const [name, { dtype, dims, data }] of tensors) {
    header[name] = { dtype, shape: dims, data_offsets: [end, end + data.byteLength] }
    parts.push(Buffer.from(data.buffer, data.byteOffset, data.byteLength))
    end += data.byteLength
  }
  const text = Buffer.from(JSON.stringify(header))
  const prefix = Buffer.alloc(8)
  prefix.writeBigUInt64LE(BigInt(text.length))
  writeFileSync(file, Buffer.concat([prefix, text, ...parts]))
}

const scale = 0.25
/** A code of e4m3 for each value: some number near it is enough. */
const codesOf = (values: Float32Array): Uint8Array =>
  Uint8Array.from(values, (value) => (Math.round(Math.abs(value) * 100) % 120) + (value < 0 ? 128 : 0))

/** Every matrix of the layers in 8 bits with one scale, and one for its inputs; a tower beside the text. */
const wrapped = (name: string, wrapper: string) => {
  const tiny = tinyFamilies.find((one) => one.name === name) as (typeof tinyFamilies)[number]
  const { spec, family, roles } = checkpointOf(tiny)
  const tensors = new Map<string, FileTensor>()
  for (const [file, { dims, values }] of fileTensors(spec, roles, safetensorsNames(family))) {
    const inside = `language_model.${file}`
    if (!file.includes('_proj.weight')) tensors.set(inside, { dtype: 'F32', dims, data: values })
    else {
      tensors.set(inside, { dtype: 'F8_E4M3', dims, data: codesOf(values) })
      tensors.set(`${inside}_scale_inv`, { dtype: 'F32', dims: [], data: new Float32Array([scale]) })
      const input = inside.replace(/weight$/, 'activation_scale')
      tensors.set(input, { dtype: 'F32', dims: [], data: new Float32Array([2]) })
    }
  }
  tensors.set('vision_tower.patch_conv.weight', { dtype: 'F32', dims: [2, 2], data: new Float32Array(4) })
  const text = { ...tiny.config, architectures: undefined }
  const write = (change: (config: Json, text: Json) => Json): string => {
    const folder = mkdtempSync(join(root, 'model-'))
    mkdirSync(folder, { recursive: true })
    writeSafetensors(join(folder, 'model.safetensors'), tensors)
    const config = { architectures: [wrapper], model_type: 'wrapper', vision_config: {}, image_token_index: 10 }
    writeFileSync(join(folder, 'config.json'), JSON.stringify(change(config, text)))
    return folder
  }
  return { write, spec, q: tensors.get('language_model.model.layers.1.self_attn.q_proj.weight') as FileTensor }
}

const fp8 = { quant_method: 'fp8', activation_scheme: 'static', weight_block_size: null, modules_to_not_convert: ['a'] }

const levels: Readonly<Record<string, (config: Json, text: Json) => Json>> = {
  outside: (config, text) => ({ ...config, text_config: text, quantization_config: fp8 }),
  inside: (config, text) => ({ ...config, text_config: { ...text, quantization_config: fp8 } }),
  'on both levels': (config, text) => ({
    ...config,
    quantization_config: fp8,
    text_config: { ...text, quantization_config: fp8 },
  }),
}

for (const [name, wrapper] of [
  ['mistral', 'Mistral3ForConditionalGeneration'],
  ['ministral 3', 'Mistral3ForConditionalGeneration'],
  ['gemma 3', 'Gemma3ForConditionalGeneration'],
] as const) {
  for (const [level, change] of Object.entries(levels)) {
    test(`wrapped ${name}: quantization_config is honoured ${level}`, (t) => {
      const { write, spec, q } = wrapped(name, wrapper)
      const source = openSource(write(change))
      t.after(() => source.close())
      assert.deepEqual(source.spec, spec)
      const role = source.roles().role('layers.1.attention.q')
      const want = Float32Array.from(q.data as Uint8Array, (code) => e4m3Values[code] * scale)
      assert.deepEqual(role.readRows(0, role.rows), want)
    })
  }
}

test('wrapped: levels that contradict each other, and a method that is not known, are refused', () => {
  const { write } = wrapped('mistral', 'Mistral3ForConditionalGeneration')
  const other = { quant_method: 'fp8', weight_block_size: [128, 128] }
  const refused = (change: (config: Json, text: Json) => Json, message: RegExp): void => {
    assert.throws(() => openSource(write(change)), { code: 'modelConfigInvalid', message })
  }
  refused(
    (config, text) => ({ ...config, quantization_config: fp8, text_config: { ...text, quantization_config: other } }),
    /contradicts the one in text_config/,
  )
  refused(
    (config, text) => ({ ...config, text_config: text, quantization_config: { quant_method: 'spqr' } }),
    /quant_method is "spqr"/,
  )
})
