/** The few calls of the C library that Node does not offer, through koffi. */
import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)

export interface Libc {
  mmap(address: null, length: number, protection: number, flags: number, file: number, offset: number): bigint
  /** @returns bytes read, 0 at the end, -1 when there is nothing */
  recv(socket: number, into: Uint8Array, length: number, flags: number): number
  sched_yield(): number
  view(pointer: bigint, length: number): ArrayBuffer
}

let opened: Libc | undefined

/** @throws Error where there is none of the kind we know */
export const openLibc = (): Libc => {
  if (opened) return opened
  if (process.platform === 'win32') throw new Error('shared memory is not available on Windows yet')
  const koffi = require('koffi') as {
    load(file: string): { func(declaration: string): never }
    view(pointer: bigint, length: number): ArrayBuffer
  }
  const library = koffi.load(process.platform === 'darwin' ? 'libSystem.B.dylib' : 'libc.so.6')
  opened = {
    mmap: library.func('void *mmap(void *address, size_t length, int protection, int flags, int file, int64_t offset)'),
    recv: library.func('int64_t recv(int socket, void *into, size_t length, int flags)'),
    sched_yield: library.func('int sched_yield()'),
    view: (pointer, length) => koffi.view(pointer, length),
  }
  return opened
}
