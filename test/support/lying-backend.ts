/**
 * Preloaded into an agent (`node --import`): what its MLP halves give is wrong, by the fraction of its norm that
 * follows the question mark, in another direction each time. Agents have no option for that; tests of them need one
 * that lies.
 */
import { HostedBackend } from '../../agent/compute/hosted-backend.ts'

const fraction = Number(new URL(import.meta.url).search.slice(1))

const gauss = (): number => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random())

const norm = (values: Float32Array): number => Math.hypot(...values)

/** Adds noise to a row, in place. */
const disturb = (row: Float32Array): void => {
  const noise = row.map(gauss)
  const scale = (fraction * norm(row)) / norm(noise)
  for (let i = 0; i < row.length; i++) row[i] += scale * noise[i]
}

const { buffers, feedForward } = HostedBackend.prototype
let partial: Float32Array = new Float32Array(0)
let rowsHeld = 1

HostedBackend.prototype.buffers = async function (rows) {
  const shared = await buffers.call(this, rows)
  partial = shared.partial
  rowsHeld = Math.max(rowsHeld, rows) // memory for fewer rows is not made anew
  return shared
}

HostedBackend.prototype.feedForward = async function (layer, rows, firstRow = 0) {
  await feedForward.call(this, layer, rows, firstRow)
  const hidden = partial.length / rowsHeld
  for (let row = firstRow; row < firstRow + rows; row++) disturb(partial.subarray(row * hidden, (row + 1) * hidden))
}
