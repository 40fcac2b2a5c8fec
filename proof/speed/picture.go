package main

import (
	"image/color"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

var colors = []color.Color{
	color.RGBA{R: 0x1f, G: 0x6f, B: 0xb4, A: 0xff},
	color.RGBA{R: 0xb0, G: 0xb0, B: 0xb0, A: 0xff},
	color.RGBA{R: 0xe0, G: 0x8a, B: 0x2c, A: 0xff},
}

// draw draws a group of bars for each race: the time of each contestant, divided
// by that by hand.
func draw(path string, results []result) error {
	p := plot.New()
	p.Title.Text = "Time of a call, divided by that by hand (less is better)"
	p.Title.Padding = vg.Points(8)
	p.X.Min, p.X.Max = -0.5, float64(len(results))-0.5
	p.Y.Min, p.Y.Max = 0, 1.5 // Room for the legend.
	p.Legend.Top = true
	grid := plotter.NewGrid()
	grid.Vertical.Width = 0
	p.Add(grid)
	const width = vg.Length(18)
	for i, name := range names {
		var ratios plotter.Values
		for _, r := range results {
			ratios = append(ratios, r.ratio[i])
		}
		bars, err := plotter.NewBarChart(ratios, width)
		if err != nil {
			return err
		}
		bars.Color, bars.LineStyle.Width, bars.Offset = colors[i], 0, width*vg.Length(i-1)
		p.Add(bars)
		p.Legend.Add(name, bars)
	}
	var labels []string
	for _, r := range results {
		labels = append(labels, r.name)
	}
	p.NominalX(labels...)
	p.X.Padding = 0
	return p.Save(30*vg.Centimeter, 11*vg.Centimeter, path)
}
