import { defineCommand } from '../command.ts'
import { runSibling } from '../sibling.ts'

export const bench = defineCommand({
  name: 'bench',
  summary: 'time a ring of processes on this machine, on random weights of a shape',
  details: 'What is measured and how: bench/METHOD.md.',
  options: ['shape', 'workers', 'threads', 'spin', 'backend', 'quant', 'promptTokens', 'tokens', 'runs', 'collective', 'wire', 'compare', 'collectives', 'rtt', 'mbit', 'json'],
  defaults: { quant: 'q4', threads: 1 },
  examples: ['mesh bench --workers 2 --threads 1 --backend ggml', 'mesh bench --workers 1 --threads 2 --compare llama.cpp', 'mesh bench --shape llama-160m --workers 4 --collective ring', 'mesh bench --collectives', 'mesh bench --shape tiny --workers 4 --rtt 20 --collective direct'],
  service: true,
  run: (context) => runSibling(context, 'bench'),
})
