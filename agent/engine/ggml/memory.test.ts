import { test } from 'node:test'
import { checkMemory } from '../test/memory-contract.ts'
import { creators, openSubject } from '../test/contract-subject.ts'
import { ggmlComes } from '../test/platform.ts'

test('ggml: memory does not grow with steps', { skip: !ggmlComes && 'no ggml for this platform' }, async (t) => {
  const subject = openSubject(creators.ggml!)
  t.after(() => subject.close())
  await checkMemory(subject)
})
