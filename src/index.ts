export { Endpoint } from "./services/Endpoint.ts"
