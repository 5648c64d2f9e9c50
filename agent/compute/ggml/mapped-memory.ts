/**
 * Memory that two processes share: a file mapped by both, unlinked as soon as both have it. On Linux the file lies in
 * memory (`/dev/shm`), elsewhere in the folder for temporary files. Uses the C library's `mmap` through koffi.
 */
import { randomBytes } from 'node:crypto'
import { closeSync, existsSync, ftruncateSync, openSync, unlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openLibc } from '../../engine/ggml/libc.ts'

const readWrite = 1 | 2 // PROT_READ | PROT_WRITE
const shared = 1 // MAP_SHARED

export interface Mapping {
  readonly path: string
  readonly memory: ArrayBuffer
  /** Removes the name; the mappings stay. */
  unlink(): void
}

const map = (path: string, bytes: number, flags: string): Mapping => {
  const libc = openLibc()
  const file = openSync(path, flags, 0o600)
  try {
    if (flags !== 'r+') ftruncateSync(file, bytes)
    const address = libc.mmap(null, bytes, readWrite, shared, file, 0)
    if (address === 0xffff_ffff_ffff_ffffn || address === -1n) throw new Error(`cannot map ${bytes} bytes of ${path}`)
    return { path, memory: libc.view(address, bytes), unlink: () => unlinkSync(path) }
  } finally {
    closeSync(file)
  }
}

/** New zeroed memory; `path` is what the other process needs. Never unmapped: views into it may still be held. */
export const createMapping = (bytes: number): Mapping =>
  map(
    join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), `meshnet-${process.pid}-${randomBytes(8).toString('hex')}`),
    bytes,
    'wx+',
  )

/** Memory that the other process made. */
export const openMapping = (path: string, bytes: number): Mapping => map(path, bytes, 'r+')
