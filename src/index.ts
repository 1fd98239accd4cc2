/**
 * The public API of the library, grouped: what a node is made of, and the layers to make it from. Nothing else is public.
 */

export { Endpoint } from "./services/Endpoint.ts"
