package onnx

import "agora/ranker/feature"

// Inputs are the inputs that a model declares. It reads the file only: no
// runtime is needed.
func Inputs(model []byte) ([]feature.Input, error) {
	g, err := inspect(model)
	if err != nil {
		return nil, err
	}
	return g.Inputs, nil
}
