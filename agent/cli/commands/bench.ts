import { programOptions } from '../../../shared/program-options.ts'
import { BenchReport } from '../../../shared/schema/bench.ts'
import { defineCommand } from '../command.ts'
import { runSibling } from '../sibling.ts'

export const bench = defineCommand({
  name: 'bench',
  summary: 'time a ring of processes on this machine, on a model or on random weights of a shape',
  details: 'What is measured and how: bench/METHOD.md.',
  needs: ['agent'],
  ...programOptions.bench,
  examples: [
    'mesh bench --workers 2 --threads 1 --backend ggml',
    'mesh bench --workers 1 --threads 2 --compare llama.cpp',
    'mesh bench --shape llama-160m --workers 4 --collective ring',
    'mesh bench --model models/tiny-story --workers 2 --quant q8',
    'mesh bench --contexts 100,2000 --sequences 1,4,8',
    'mesh bench --collectives',
    'mesh bench --shape tiny --workers 4 --rtt 20 --collective direct',
  ],
  service: true,
  json: BenchReport,
  run: (context) => runSibling(context, 'bench'),
})
