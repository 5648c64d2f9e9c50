import { test } from 'node:test'
import { checkMemory } from '../memory-contract.ts'
import { creators, openSubject } from '../test/contract-subject.ts'

test('ggml: memory does not grow with steps', { skip: creators.ggml === undefined && 'no ggml for this system' }, async (t) => {
  const subject = openSubject(creators.ggml!)
  t.after(() => subject.close())
  await checkMemory(subject)
})
