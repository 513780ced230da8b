// Parses each Mermaid text of a JSON list (standard input) with the real parser, and prints what it understood, a line each.
import { readFileSync } from 'node:fs'
import { JSDOM } from 'jsdom'

globalThis.window = new JSDOM('').window
globalThis.document = window.document
const { default: mermaid } = await import('mermaid')
await mermaid.parse('sequenceDiagram\n  a->>b: c') // registers the kinds of diagrams
for (const text of JSON.parse(readFileSync(0, 'utf8'))) {
  const { db } = await mermaid.mermaidAPI.getDiagramFromText(text)
  const actors = [...db.getActors().values()].map(actor => actor.description)
  const messages = db.getMessages().map(each => each.message).filter(each => typeof each === 'string' && each !== '')
  console.log(JSON.stringify({ actors, messages }))
}
