import assert from 'node:assert/strict'
import { test } from 'node:test'
import { openDevice } from './device.ts'
import { nativeHalves } from './halves.ts'
import { hasGgml, openGgml } from './library.ts'

// ggml's libraries come for Linux on x64 so far
test('halves: every f16, and f32 of every exponent, are converted as JavaScript does', { skip: !hasGgml() && 'no ggml for this platform' }, () => {
  openDevice(openGgml(), 1).close()
  const halves = nativeHalves()
  assert.ok(halves, 'a conversion was found')
  const every = Uint16Array.from({ length: 65_536 }, (_, bits) => bits)
  const floats = new Float32Array(every.length)
  halves.toFloat(every, floats)
  assert.deepEqual(floats, Float32Array.from(new Float16Array(every.buffer)))

  const bits = new Uint32Array(1_000_003)
  let state = 1
  for (let i = 0; i < bits.length; i++) bits[i] = state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
  // what lies half-way between two f16, and next to it
  for (let i = 0; i < 65_000; i++) bits[i] = (0x3800_0000 + i * 0x1000 + (i % 3) - 1) >>> 0
  const random = new Float32Array(bits.buffer).map((value) => (Number.isNaN(value) ? 1 : value)) // what is left of a NaN's bits is nobody's concern
  const got = new Uint16Array(random.length)
  halves.toHalf(random, got)
  assert.deepEqual(got, new Uint16Array(new Float16Array(random).buffer))
})
