import { scenarios } from './scenarios/all.ts'

/* `npm run scenario -- NAME`: one end-to-end scenario on the local host, its steps printed; non-zero on any deviation. */

const [name = ''] = process.argv.slice(2)
const scenario = scenarios[name]
if (scenario === undefined) {
  console.log(`Usage: npm run scenario -- NAME\n\nScenarios:`)
  for (const [one, { summary }] of Object.entries(scenarios)) console.log(`  ${one.padEnd(22)} ${summary}`)
  process.exit(name === '' || name === '--help' ? 0 : 2)
}
let steps = 0
try {
  await scenario.run(text => console.log(`${String(++steps).padStart(3)}  ${text}`))
  console.log(`\n${name}: everything held`)
} catch (error) {
  console.error(`\n${name}: DEVIATION after step ${steps}: ${error instanceof Error ? error.message : error}`)
  process.exitCode = 1
}
