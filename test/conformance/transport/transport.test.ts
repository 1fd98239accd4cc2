import { chosenNames, provider } from "./registry.ts"
import { transportSuite } from "./suite.ts"

for (const name of chosenNames()) transportSuite(provider(name))
