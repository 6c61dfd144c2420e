import { svelte } from '@sveltejs/vite-plugin-svelte'
import { defineConfig } from 'vite'

export default defineConfig({
  // "tree" makes elements one by one and never through innerHTML, so the page
  // runs under a policy that lets nothing at all be parsed as HTML.
  plugins: [svelte({ compilerOptions: { runes: true, fragments: 'tree' } })],
  build: {
    outDir: 'dist/app', // beside .gitkeep, which lets go build find the folder before npm has run
    emptyOutDir: true,
    target: 'es2022',
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0, // the policy allows no data: addresses
    chunkSizeWarningLimit: 400,
  },
})
