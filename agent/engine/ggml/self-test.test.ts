/** A kernel that is wrong is found by name before the backend answers anything. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Ggml, hasGgml, openGgml, type Pointer } from './library.ts'
import { selfTest } from './self-test.ts'

const skip = !hasGgml()

test('self-test: the kernels of this machine pass', { skip }, () => selfTest(1))

/** The same library with one operation that does something else. */
const broken = (change: (ggml: Ggml) => Partial<Ggml>): Ggml => {
  const ggml = openGgml()
  return { ...ggml, ...change(ggml) }
}

/** The first id for all rows. */
const first = (ggml: Ggml, context: Pointer, ids: Pointer): Pointer =>
  ggml.view_2d(context, ids, 1, Number(ggml.nbytes(ids)) / 4, 0, 0)

/** Arguments with another one in the place of one of them. */
const changed = <List extends readonly unknown[]>(list: List, at: number, value: unknown): List =>
  list.map((one, index) => (index === at ? value : one)) as unknown as List

const nothing = null as unknown as Pointer

for (const [what, change, message] of [
  [
    'a product with experts',
    (ggml) => ({ mul_mat_id: (c, w, x, ids) => ggml.mul_mat_id(c, w, x, first(ggml, c as Pointer, ids as Pointer)) }),
    /a product with chosen experts/,
  ],
  ['biases of experts', (ggml) => ({ add_id: (c, a) => ggml.scale(c, a, 1) }), /biases of chosen experts/],
  ['a soft cap', (ggml) => ({ flash_attn_ext: (...of) => ggml.flash_attn_ext(...changed(of, 7, 0)) }), /attention/],
  [
    'a scale of scores',
    (ggml) => ({
      flash_attn_ext: (...of) => ggml.flash_attn_ext(...changed(of, 5, Number(of[5]) * 1.5)),
    }),
    /attention/,
  ],
  ['a mask', (ggml) => ({ flash_attn_ext: (...of) => ggml.flash_attn_ext(...changed(of, 4, nothing)) }), /attention/],
  ['sinks', () => ({ flash_attn_ext_add_sinks: () => undefined }), /attention with sinks/],
  [
    'a clamped GLU',
    (ggml) => ({ swiglu_oai: (c, g, u, alpha) => ggml.swiglu_oai(c, g, u, alpha, 100) }),
    /clamped GLU/,
  ],
  ['a GLU', (ggml) => ({ swiglu_split: (c, g, u) => ggml.swiglu_split(c, u, g) }), /GLU with silu/],
  ['a rotation', (ggml) => ({ rope_ext: (...of) => ggml.rope_ext(...changed(of, 5, Number(of[5]) ^ 2)) }), /rotation/],
  ['divisors', (ggml) => ({ rope_ext: (...of) => ggml.rope_ext(...changed(of, 3, nothing)) }), /rotation/],
  ['a mean', (ggml) => ({ norm: (c, a, e) => ggml.rms_norm(c, a, e) }), /norm with a mean/],
  ['a norm', (ggml) => ({ rms_norm: (c, a) => ggml.scale(c, a, 1) }), /a norm/],
  ['tanh', (ggml) => ({ tanh: (c, a) => ggml.sigmoid(c, a) }), /tanh/],
  ['a square', (ggml) => ({ sqr: (c, a) => ggml.relu(c, a) }), /sqr/],
] as readonly (readonly [string, (ggml: Ggml) => Partial<Ggml>, RegExp])[]) {
  test(`self-test: ${what} that is wrong is found`, { skip }, () => {
    assert.throws(() => selfTest(1, broken(change)), { code: 'backendFailed', message })
  })
}
